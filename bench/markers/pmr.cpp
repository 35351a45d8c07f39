// std::pmr: a monotonic resource on a buffer, which a vector and strings take their memory from. With -DMARKERS it is wrapped.
//
// docs/markers.md shows what arenascope sees of it, with and without.
#include <cstddef>
#include <cstdio>
#include <memory_resource>
#include <string>
#include <vector>

#ifdef MARKERS
#include "../../crates/capi/include/arenascope-mark.h"

/* The resource that tells what it does. Deallocating is nothing to it, so it is not told. */
class told_resource : public std::pmr::memory_resource {
public:
	told_resource(void *buffer, std::size_t size, const char *name) : inner(buffer, size, std::pmr::null_memory_resource())
	{
		ARENASCOPE_CREATE(this, size, name);
	}
	~told_resource() override { ARENASCOPE_DESTROY(this); }
	void release()
	{
		ARENASCOPE_RESET(this);
		inner.release();
	}

private:
	void *do_allocate(std::size_t size, std::size_t align) override
	{
		void *block = inner.allocate(size, align);
		ARENASCOPE_ALLOC_ALIGNED(this, block, size, align);
		return block;
	}
	void do_deallocate(void *, std::size_t, std::size_t) override {}
	bool do_is_equal(const memory_resource &other) const noexcept override { return this == &other; }

	std::pmr::monotonic_buffer_resource inner;
};
#endif

alignas(std::max_align_t) static char buffer[16384];

int main()
{
#ifdef MARKERS
	told_resource request(buffer, sizeof buffer, "request");
#else
	std::pmr::monotonic_buffer_resource request(buffer, sizeof buffer, std::pmr::null_memory_resource());
#endif
	std::size_t bytes = 0;

	for (int round = 0; round < 3; round++) {
		{
			std::pmr::vector<std::pmr::string> lines(&request);
			for (int i = 0; i < 20; i++)
				lines.emplace_back("a line that is too long for a small string, number " + std::to_string(i));
			for (const auto &line : lines)
				bytes += line.size();
		}
		request.release();
	}
	std::printf("%zu\n", bytes);
	return 0;
}
