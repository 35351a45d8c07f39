// The second file of marked.cpp.
#include "marked.hpp"

void other(bump<4096> &arena);

void other(bump<4096> &arena)
{
	for (int i = 0; i < 50; i++)
		*arena.make<short>(static_cast<short>(i)) += 1;
	bump<1024> mine("other");
	for (int i = 0; i < 30; i++)
		*mine.make<int>(i) += 1;
}
