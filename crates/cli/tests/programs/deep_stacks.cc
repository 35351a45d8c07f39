/* Frames that an exception unwinds: the watched call is made before it, in destructors while it passes, and where it is caught. */
#include "told_stacks.h"
#include <algorithm>
#include <functional>
#include <stdexcept>
#include <vector>

NOINLINE static int leaf(int n) { char *p = (char *)take(&arena, 16); *p = n; STAY; return *p; }

struct Guard {
	int n;
	NOINLINE ~Guard() { leaf(n); }
};

NOINLINE static int throws(int n)
{
	Guard guard{n};

	if (leaf(n) >= 0)
		throw std::runtime_error("as planned");
	return n;
}

template <int Depth> NOINLINE static int through(int n)
{
	Guard guard{Depth};
	std::vector<int> kept(n, Depth);

	n = through<Depth - 1>(n) + kept[0];
	STAY;
	return n;
}
template <> int through<0>(int n) { return throws(n) + 1; }

struct Shape { virtual int area(int n) { return leaf(n); } virtual ~Shape() {} };
struct Square : Shape { int area(int n) override { return Shape::area(n) * 2; } };

int main(int argc, char **argv)
{
	begin(argc, argv);
	for (int i = 0; i < 10; i++) {
		try {
			through<4>(3 + i % 2);
		} catch (const std::exception &) {
			leaf(i);
		}
		std::vector<int> numbers{3, 1, 2};
		std::sort(numbers.begin(), numbers.end(), [](int a, int b) { leaf(a); return a < b; });
		std::function<int(int)> wrapped = [](int n) { return leaf(n) + 1; };
		wrapped(i);
		Shape *shape = new Square;
		shape->area(i);
		delete shape;
	}
	leaf(argc);
	leaf(argc);
	return 0;
}
