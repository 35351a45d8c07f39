// A fixed allocator as a template parameter of containers, in the style of game libraries (EASTL): all of it is inlined at -O2.
// With -DMARKERS it tells what it does.
//
// docs/markers.md shows what arenascope sees of it, with and without.
#include <cstddef>
#include <cstdio>
#include <cstring>

#ifdef MARKERS
#include "../../crates/capi/include/arenascope-mark.h"
#else
#define ARENASCOPE_CREATE(arena, capacity, name) ((void)(name))
#define ARENASCOPE_ALLOC(arena, block, size) ((void)0)
#define ARENASCOPE_FREE(arena, block) ((void)0)
#define ARENASCOPE_DESTROY(arena) ((void)0)
#endif

template <std::size_t NODE, std::size_t COUNT> class fixed_allocator {
public:
	explicit fixed_allocator(const char *name)
	{
		for (std::size_t i = 0; i < COUNT; i++)
			push(memory + i * NODE);
		ARENASCOPE_CREATE(this, sizeof memory, name);
	}
	~fixed_allocator() { ARENASCOPE_DESTROY(this); }
	void *allocate()
	{
		void *node = first;
		if (!node) {
			ARENASCOPE_ALLOC(this, node, NODE);
			return node;
		}
		std::memcpy(&first, node, sizeof first);
		ARENASCOPE_ALLOC(this, node, NODE);
		return node;
	}
	void deallocate(void *node)
	{
		ARENASCOPE_FREE(this, node);
		push(node);
	}

private:
	void push(void *node)
	{
		std::memcpy(node, &first, sizeof first);
		first = node;
	}
	void *first = nullptr;
	alignas(std::max_align_t) unsigned char memory[NODE * COUNT];
};

template <class T, std::size_t COUNT> class fixed_list {
public:
	explicit fixed_list(const char *name) : allocator(name) {}
	~fixed_list()
	{
		while (head)
			pop();
	}
	bool push(const T &value)
	{
		void *place = allocator.allocate();
		if (!place)
			return false;
		head = new (place) node{head, value};
		return true;
	}
	T pop()
	{
		node *gone = head;
		T value = gone->value;
		head = gone->next;
		allocator.deallocate(gone);
		return value;
	}
	bool empty() const { return !head; }

private:
	struct node {
		node *next;
		T value;
		static void *operator new(std::size_t, void *place) { return place; }
	};
	fixed_allocator<sizeof(node), COUNT> allocator;
	node *head = nullptr;
};

int main()
{
	fixed_list<int, 16> open("open list");
	fixed_list<double, 8> costs("costs");
	int refused = 0;
	double sum = 0;

	for (int i = 0; i < 20; i++)
		refused += !open.push(i);
	for (int i = 0; i < 6; i++)
		costs.push(i / 2.0);
	while (!costs.empty())
		sum += costs.pop();
	std::printf("%d refused, %g\n", refused, sum);
	return 0;
}
