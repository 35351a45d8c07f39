// A class: the constructor maps, the destructor unmaps, a template on top.
#include <cstddef>
#include <cstdio>
#include <new>
#include <string>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace mem {
class Arena {
    char *base_;
    std::size_t used_ = 0, size_;
public:
    explicit Arena(std::size_t size);
    ~Arena();
    void *alloc(std::size_t n);
    void reset();
    std::size_t used() const;
    template <class T, class... A> T *make(A &&...a) { return new (alloc(sizeof(T))) T(std::forward<A>(a)...); }
};
Arena::Arena(std::size_t size) : size_(size) {
    base_ = static_cast<char *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}
Arena::~Arena() { munmap(base_, size_); }
void *Arena::alloc(std::size_t n) {
    n = (n + 15) / 16 * 16;
    if (n > size_ - used_) throw std::bad_alloc();
    void *p = base_ + used_;
    used_ += n;
    return p;
}
void Arena::reset() { used_ = 0; }
std::size_t Arena::used() const { return used_; }
}

struct Point { int x, y; Point(int a, int b) : x(a), y(b) {} };

int main() {
    mem::Arena a(4096);
    Point *p = a.make<Point>(1, 2);
    std::vector<std::string> names{"one", "two"};
    names.push_back(std::string(40, 'x'));
    std::printf("%d %zu %zu\n", p->x + p->y, names.size(), a.used());
    a.reset();
    Point *q = a.make<Point>(3, 4);
    std::printf("%d\n", q->x);
    return 0;
}
