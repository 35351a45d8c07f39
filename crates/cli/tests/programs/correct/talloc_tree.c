/* Correct use of talloc, hard: trees freed by their root, children stolen before their parent goes, references, destructors,
 * arrays that grow, a pool, a destructor that refuses once, a temporary context per round. */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

struct node {
    struct node *left, *right;
    char *label;
    int value;
};

static int gone;

static int node_gone(struct node *node)
{
    gone += node->value > 0;
    return 0;
}

static int refusals;

static int refuse_once(char *text)
{
    (void)text;
    return refusals++ == 0 ? -1 : 0;
}

static struct node *tree(void *parent, int depth)
{
    struct node *node = talloc_zero(parent, struct node);
    node->value = depth;
    node->label = talloc_asprintf(node, "node at depth %d", depth);
    talloc_set_destructor(node, node_gone);
    if (depth > 0) {
        node->left = tree(node, depth - 1);
        node->right = tree(node, depth - 1);
    }
    return node;
}

static int weight(const struct node *node)
{
    return node == NULL ? 0 : node->value + (int)strlen(node->label) + weight(node->left) + weight(node->right);
}

int main(void)
{
    void *top = talloc_new(NULL);
    long sum = 0;
    for (int round = 0; round < 12; round++) {
        void *frame = talloc_new(top);
        struct node *grown = tree(frame, 6);
        struct node *kept = talloc_steal(top, grown->left);
        grown->left = NULL;
        sum += weight(grown);
        talloc_free(frame);
        sum += weight(kept);
        if (round % 3)
            talloc_free(kept);
    }
    int *numbers = talloc_array(top, int, 1);
    for (int i = 0; i < 2000; i++) {
        if (i > 0 && (i & (i - 1)) == 0)
            numbers = talloc_realloc(top, numbers, int, 2 * (size_t)i);
        numbers[i] = i;
    }
    for (int i = 0; i < 2000; i++)
        sum += numbers[i];
    void *pool = talloc_pool(top, 4096);
    for (int i = 0; i < 64; i++) {
        char *text = talloc_strdup(pool, "from the pool");
        text = talloc_strdup_append(text, " and grown");
        sum += (long)strlen(text);
        if (i % 2)
            talloc_free(text);
    }
    char *first = talloc_strdup(top, "held twice");
    void *other = talloc_new(top);
    talloc_reference(other, first);
    talloc_unlink(top, first);
    sum += (long)strlen(first);
    talloc_free(other);
    char *stubborn = talloc_strdup(top, "stubborn");
    talloc_set_destructor(stubborn, refuse_once);
    if (talloc_free(stubborn) == -1)
        sum += (long)strlen(stubborn);
    talloc_free(stubborn);
    talloc_free(top);
    printf("%ld %d %d\n", sum, gone, refusals);
    return 0;
}
