// C++ of the usual kind: library containers, a small vector, a string builder, a pool of handles. No arena.
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

template <class T> class Small {
    T *data_ = inline_;
    std::size_t size_ = 0, cap_ = 4;
    T inline_[4];
public:
    ~Small() { if (data_ != inline_) delete[] data_; }
    T *append(std::size_t n) {
        if (size_ + n > cap_) {
            std::size_t cap = (size_ + n) * 2;
            T *d = new T[cap];
            for (std::size_t i = 0; i < size_; i++) d[i] = data_[i];
            if (data_ != inline_) delete[] data_;
            data_ = d;
            cap_ = cap;
        }
        T *p = data_ + size_;
        size_ += n;
        return p;
    }
    T *at(std::size_t i) { return data_ + i; }
};

class Builder {
    std::string text_;
    std::size_t marks_ = 0;
public:
    char *grow(std::size_t n) { text_.resize(text_.size() + n); marks_ += n; return &text_[text_.size() - n]; }
    const char *str() const { return text_.c_str(); }
};

struct Handle { int id; };
class Handles {
    std::vector<std::unique_ptr<Handle>> all_;
    std::size_t used_ = 0;
public:
    Handle *get(std::size_t id) {
        while (all_.size() <= id) all_.push_back(std::make_unique<Handle>());
        used_ += id;
        return all_[id].get();
    }
};

int main() {
    Small<int> s;
    s.append(3)[0] = 1;
    *s.at(1) = 2;
    Builder b;
    b.grow(4)[0] = 'x';
    std::puts(b.str());
    Handles h;
    h.get(3)->id = 4;
    std::map<int, std::string> m{{1, "a"}, {2, "b"}};
    std::unordered_map<std::string, int> u{{"x", 1}};
    std::deque<int> d{1, 2, 3};
    std::ostringstream o;
    o << m.size() << u.size() << d.size();
    std::puts(o.str().c_str());
    return 0;
}
