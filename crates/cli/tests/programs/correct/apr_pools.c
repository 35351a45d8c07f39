/* Correct use of APR's pools, hard: a pool per connection with a pool per request cleared again and again, subpools destroyed
 * by their parents, cleanups that allocate, tables and arrays that grow, a scratch pool for a loop, strings joined. */
#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include <apr_hash.h>
#include <stdio.h>
#include <string.h>

static int cleaned;

static apr_status_t count_cleanup(void *data)
{
    cleaned += *(int *)data;
    return APR_SUCCESS;
}

static unsigned request(apr_pool_t *pool, int number)
{
    apr_table_t *headers = apr_table_make(pool, 2);
    for (int i = 0; i < 20; i++)
        apr_table_setn(headers, apr_psprintf(pool, "header-%d", i), apr_itoa(pool, number * i));
    apr_array_header_t *parts = apr_array_make(pool, 1, sizeof(char *));
    for (int i = 0; i < 50; i++)
        APR_ARRAY_PUSH(parts, char *) = apr_pstrcat(pool, "part", apr_itoa(pool, i), NULL);
    char *body = apr_array_pstrcat(pool, parts, ',');
    int *one = apr_palloc(pool, sizeof *one);
    *one = 1;
    apr_pool_cleanup_register(pool, one, count_cleanup, apr_pool_cleanup_null);
    return (unsigned)strlen(body) + (unsigned)strlen(apr_table_get(headers, "header-7"));
}

int main(void)
{
    apr_initialize();
    apr_pool_t *root, *scratch;
    unsigned sum = 0;
    apr_pool_create(&root, NULL);
    apr_pool_create(&scratch, root);
    apr_hash_t *seen = apr_hash_make(root);
    for (int connection = 0; connection < 6; connection++) {
        apr_pool_t *conn, *req;
        apr_pool_create(&conn, root);
        apr_pool_tag(conn, "connection");
        char *peer = apr_psprintf(conn, "10.0.0.%d", connection);
        apr_hash_set(seen, apr_pstrdup(root, peer), APR_HASH_KEY_STRING, apr_pmemdup(root, &connection, sizeof connection));
        apr_pool_create(&req, conn);
        for (int i = 0; i < 25; i++) {
            sum += request(req, i);
            apr_pool_clear(req);
        }
        sum += request(req, 99);
        if (connection % 2)
            apr_pool_destroy(req);
        apr_pool_destroy(conn);
    }
    for (int i = 0; i < 300; i++) {
        apr_pool_clear(scratch);
        char *big = apr_pcalloc(scratch, 100 + 97 * (apr_size_t)i);
        big[i] = 1;
        sum += (unsigned)big[i];
    }
    printf("%u %d %u\n", sum, cleaned, apr_hash_count(seen));
    apr_pool_destroy(root);
    apr_terminate();
    return 0;
}
