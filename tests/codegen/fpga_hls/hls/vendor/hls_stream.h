// The shape of a vendor's streams in C simulation, written for tests: no bound, no stages side by side, never full.
#ifndef VENDOR_HLS_STREAM_H
#define VENDOR_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>

namespace hls {

template <class T, int DEPTH = 0>
class stream;

template <class T>
class stream<T, 0> {
public:
    stream() {}
    stream(const char* name) : name_(name) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    bool empty() const { return values_.empty(); }
    bool full() const { return false; }
    std::size_t size() const { return values_.size(); }

    T read() {
        if (empty()) {
            std::fprintf(stderr, "%s is read while empty\n", name_.c_str());
            std::exit(4);
        }
        const T value = values_.front();
        values_.pop_front();
        return value;
    }

    bool read_nb(T& value) {
        if (empty()) return false;
        value = read();
        return true;
    }

    void write(const T& value) { values_.push_back(value); }

private:
    std::string name_;
    std::deque<T> values_;
};

template <class T, int DEPTH>
class stream : public stream<T, 0> {
public:
    stream() {}
    stream(const char* name) : stream<T, 0>(name) {}
};

}  // namespace hls

#endif
