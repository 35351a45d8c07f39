// Arena templates instantiated in two files, and exceptions that pass markers.
#include "marked.hpp"

#include <cstdio>
#include <stdexcept>
#include <string>

void other(bump<4096> &arena);

static bump<4096> in_static_memory("static");

static int thrower(bump<1024> &arena, int depth)
{
	auto *mine = arena.make<int>(depth);
	if (depth == 0)
		throw std::runtime_error("thrown");
	int below = thrower(arena, depth - 1);
	return below + *mine;
}

int main()
{
	bump<1024> local("local");
	int caught = 0;
	for (int round = 0; round < 20; round++) {
		try {
			thrower(local, 8);
		} catch (const std::runtime_error &) {
			caught++;
		}
		local.reset();
	}
	for (int i = 0; i < 100; i++) {
		*in_static_memory.make<long>(i) += 1;
		if (i % 10 == 9)
			in_static_memory.reset();
	}
	other(in_static_memory);
	std::printf("caught %d allocs %lu resets %lu\n", caught, told_allocs, told_resets);
	return 0;
}
