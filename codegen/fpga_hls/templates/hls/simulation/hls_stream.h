// Streams for simulation without a vendor's tool, under the names that synthesis knows: hls::stream<T, DEPTH>.
//
// A stream holds at most DEPTH values; DEPTH 0, as of a test bench's streams, is without bound. Inside of a
// dataflow_region every stage runs on a stack of its own until it would wait for a stream; when all that are left
// wait, the region stops with a message that names each stage and its stream.
#ifndef ESPALIER_SIMULATION_HLS_STREAM_H
#define ESPALIER_SIMULATION_HLS_STREAM_H

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#define ESPALIER_SIMULATION  // dataflow.h runs stages side by side

namespace hls {

// What a stream is without its type.
class stream_state {
public:
    stream_state(const char* name, std::size_t depth) : name_(name), depth_(depth) {}
    bool empty() const { return size_ == 0; }
    bool full() const { return depth_ != 0 && size_ >= depth_; }
    std::size_t size() const { return size_; }
    std::size_t capacity() const { return depth_; }
    const char* name() const { return name_; }

protected:
    const char* name_;
    std::size_t depth_;
    std::size_t size_ = 0;
};

class dataflow_region {
public:
    static constexpr int DEADLOCK = 3;
    static constexpr std::size_t STACK_BYTES = std::size_t(1) << 20;

    void add(const char* name, std::function<void()> body) {
        stages_.emplace_back(new stage(name, std::move(body)));
    }

    // Runs all stages to their ends, or exits with the status DEADLOCK.
    void run() {
        for (auto& one : stages_) start(*one);
        for (std::size_t left = stages_.size(); left > 0;) {
            bool moved = false;
            left = 0;
            for (auto& one : stages_) {
                if (!one->is_done && one->can_go_on()) {
                    resume(*one);
                    moved = true;
                }
                left += !one->is_done;
            }
            if (left > 0 && !moved) report();
        }
        running() = nullptr;
    }

    // Called by a stage that can only go on when `in` has a value or `out` has room; null for what it does not wait for.
    static void wait(const stream_state* in, const stream_state* out) {
        stage* mine = running();
        if (mine == nullptr) {
            std::fprintf(stderr, "deadlock: the test bench waits for %s\n", (in ? in : out)->name());
            std::exit(DEADLOCK);
        }
        mine->in = in;
        mine->out = out;
        if (_setjmp(mine->place) == 0) _longjmp(mine->owner->place_, 1);
    }

private:
    struct stage {
        stage(const char* given, std::function<void()> work)
            : name(given), body(std::move(work)), stack(STACK_BYTES) {}
        bool can_go_on() const { return (!in && !out) || (in && !in->empty()) || (out && !out->full()); }

        std::string name;
        std::function<void()> body;
        std::vector<char> stack;
        ucontext_t first;
        jmp_buf place;
        dataflow_region* owner = nullptr;
        const stream_state* in = nullptr;
        const stream_state* out = nullptr;
        bool is_done = false;
        bool is_started = false;
    };

    static stage*& running() {
        static stage* one = nullptr;
        return one;
    }

    void start(stage& one) {
        one.owner = this;
        getcontext(&one.first);
        one.first.uc_stack.ss_sp = one.stack.data();
        one.first.uc_stack.ss_size = one.stack.size();
        one.first.uc_link = nullptr;
        makecontext(&one.first, &dataflow_region::enter, 0);
    }

    // Switches by _setjmp and _longjmp, which ask nothing of the operating system; makecontext only gives the stack.
    void resume(stage& one) {
        running() = &one;
        if (_setjmp(place_) != 0) return;
        if (one.is_started) _longjmp(one.place, 1);
        one.is_started = true;
        setcontext(&one.first);
    }

    static void enter() {
        stage* mine = running();
        mine->body();
        mine->is_done = true;
        _longjmp(mine->owner->place_, 1);
    }

    [[noreturn]] void report() const {
        std::fprintf(stderr, "deadlock:");
        for (const auto& one : stages_) {
            if (one->is_done) continue;
            std::fprintf(stderr, " %s waits", one->name.c_str());
            if (one->in) std::fprintf(stderr, " to read %s", one->in->name());
            if (one->out) std::fprintf(stderr, " to write %s", one->out->name());
            std::fprintf(stderr, ";");
        }
        std::fprintf(stderr, "\n");
        std::exit(DEADLOCK);
    }

    std::vector<std::unique_ptr<stage>> stages_;
    jmp_buf place_;
};

template <class T, int DEPTH = 0>
class stream;

// Of any depth: what a stage takes.
template <class T>
class stream<T, 0> : public stream_state {
public:
    stream() : stream("a stream") {}
    explicit stream(const char* name, std::size_t depth = 0) : stream_state(name, depth), values_(depth ? depth : 16) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    T read() {
        while (empty()) dataflow_region::wait(this, nullptr);
        const T value = values_[first_];
        first_ = first_ + 1 == values_.size() ? 0 : first_ + 1;
        --size_;
        return value;
    }

    void read(T& value) { value = read(); }

    bool read_nb(T& value) {
        if (empty()) return false;
        value = read();
        return true;
    }

    void write(const T& value) {
        while (full()) dataflow_region::wait(nullptr, this);
        if (size_ == values_.size()) grow();
        const std::size_t place = first_ + size_;
        values_[place < values_.size() ? place : place - values_.size()] = value;
        ++size_;
    }

    bool write_nb(const T& value) {
        if (full()) return false;
        write(value);
        return true;
    }

private:
    void grow() {
        std::vector<T> larger(values_.size() * 2);
        for (std::size_t number = 0; number < size_; ++number) {
            larger[number] = values_[(first_ + number) % values_.size()];
        }
        values_.swap(larger);
        first_ = 0;
    }

    std::vector<T> values_;
    std::size_t first_ = 0;
};

template <class T, int DEPTH>
class stream : public stream<T, 0> {
public:
    stream() : stream<T, 0>("a stream", DEPTH) {}
    explicit stream(const char* name) : stream<T, 0>(name, DEPTH) {}
};

}  // namespace hls

#endif
