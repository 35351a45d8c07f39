// A template arena of a size known at compile time, as game libraries have them: nothing of it is left to hook at -O2.
#ifndef MARKED_HPP
#define MARKED_HPP

#include "../../../capi/include/arenascope-mark.h"

#include <cstddef>
#include <new>
#include <utility>

inline unsigned long told_allocs, told_resets;

template <std::size_t CAPACITY> class bump {
public:
	explicit bump(const char *name) { ARENASCOPE_CREATE(this, CAPACITY, name); }
	~bump() { ARENASCOPE_DESTROY(this); }

	void *allocate(std::size_t size, std::size_t align)
	{
		std::size_t at = (offset + align - 1) & ~(align - 1);
		void *block = nullptr;
		if (at <= CAPACITY && size <= CAPACITY - at) {
			block = bytes + at;
			offset = at + size;
		}
		ARENASCOPE_ALLOC_ALIGNED(this, block, size, align);
		told_allocs++;
		return block;
	}

	template <class T, class... Args> T *make(Args &&...args)
	{
		return new (allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
	}

	void reset()
	{
		ARENASCOPE_RESET(this);
		told_resets++;
		offset = 0;
	}

private:
	std::size_t offset = 0;
	alignas(16) unsigned char bytes[CAPACITY];
};

#endif
