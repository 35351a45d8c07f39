// class Arena: found and named by demangled names; exceptions thrown through the allocator while it is hooked.
// Expect: 100 calls of mem::Arena::alloc, 64 alloc events (36 leave by bad_alloc), output the same hooked and unhooked.
#include <cstddef>
#include <cstdio>
#include <new>
#include <sys/mman.h>

namespace mem {

class Arena {
public:
	explicit Arena(std::size_t capacity);
	~Arena();
	Arena(const Arena &) = delete;
	Arena &operator=(const Arena &) = delete;
	void *alloc(std::size_t size);
	void reset();
	std::size_t used() const { return offset_; }

private:
	char *base_;
	std::size_t offset_;
	std::size_t capacity_;
};

__attribute__((noinline)) Arena::Arena(std::size_t capacity) : base_(nullptr), offset_(0), capacity_(capacity)
{
	void *region = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		throw std::bad_alloc();
	base_ = static_cast<char *>(region);
}

__attribute__((noinline)) Arena::~Arena() { munmap(base_, capacity_); }

__attribute__((noinline)) void *Arena::alloc(std::size_t size)
{
	if (size > capacity_ - offset_)
		throw std::bad_alloc();
	char *block = base_ + offset_;
	offset_ += size;
	return block;
}

__attribute__((noinline)) void Arena::reset() { offset_ = 0; }

} // namespace mem

struct Point {
	double x, y;
	Point(double a, double b) : x(a), y(b) {}
};

int main()
{
	mem::Arena arena(1024);
	int thrown = 0;
	double sum = 0;

	for (int i = 0; i < 100; i++) {
		try {
			Point *p = new (arena.alloc(sizeof(Point))) Point(i, i * 2.0);
			sum += p->x + p->y;
		} catch (const std::bad_alloc &) {
			thrown++;
		}
	}
	std::size_t used = arena.used();
	arena.reset();
	std::printf("%.0f, %d thrown, %zu used, %zu after reset\n", sum, thrown, used, arena.used());
	return 0;
}
