// Streams for simulation without a vendor's tool, under the names that synthesis knows: hls::stream<T, DEPTH>.
//
// A stream holds at most DEPTH values; DEPTH 0, as of a test bench's streams, is without bound. Inside of a
// dataflow_region every stage runs on a stack of its own until it would wait for a stream; when all that are left
// wait, the region stops with a message that names each stage and its stream.
#ifndef ESPALIER_SIMULATION_HLS_STREAM_H
#define ESPALIER_SIMULATION_HLS_STREAM_H

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace hls {

class dataflow_region {
public:
    static constexpr int DEADLOCK = 3;
    static constexpr std::size_t STACK_BYTES = std::size_t(1) << 20;

    void add(const char* name, std::function<void()> body) {
        stages_.emplace_back(new stage{name, std::move(body), {}, std::vector<char>(STACK_BYTES), false, ""});
    }

    // Runs all stages to their ends, or exits with the status DEADLOCK.
    void run() {
        current_ = this;
        for (auto& one : stages_) {
            getcontext(&one->context);
            one->context.uc_stack.ss_sp = one->stack.data();
            one->context.uc_stack.ss_size = one->stack.size();
            one->context.uc_link = &scheduler_;
            makecontext(&one->context, &dataflow_region::enter, 0);
        }
        for (std::size_t left = stages_.size(); left > 0;) {
            const std::uint64_t before = transfers_;
            left = 0;
            for (auto& one : stages_) {
                if (one->is_done) continue;
                running_ = one.get();
                swapcontext(&scheduler_, &one->context);
                if (!one->is_done) ++left;
            }
            if (left > 0 && transfers_ == before) report();
        }
        running_ = nullptr;
        current_ = nullptr;
    }

    // Called where a stage can do nothing: another one runs.
    static void idle(const char* action = "waits for", const char* stream = "its streams") {
        if (running_ == nullptr) {
            std::fprintf(stderr, "deadlock: outside of a dataflow region, %s %s\n", action, stream);
            std::exit(DEADLOCK);
        }
        running_->waits_for = std::string(action) + " " + stream;
        swapcontext(&running_->context, &current_->scheduler_);
    }

    static void note_transfer() { ++transfers_; }

private:
    struct stage {
        std::string name;
        std::function<void()> body;
        ucontext_t context;
        std::vector<char> stack;
        bool is_done;
        std::string waits_for;
    };

    static void enter() {
        stage* mine = running_;
        mine->body();
        mine->is_done = true;
        note_transfer();
    }

    [[noreturn]] void report() const {
        std::fprintf(stderr, "deadlock:");
        for (const auto& one : stages_) {
            if (!one->is_done) std::fprintf(stderr, " %s %s;", one->name.c_str(), one->waits_for.c_str());
        }
        std::fprintf(stderr, "\n");
        std::exit(DEADLOCK);
    }

    std::vector<std::unique_ptr<stage>> stages_;
    ucontext_t scheduler_;
    static dataflow_region* current_;
    static stage* running_;
    static std::uint64_t transfers_;
};

inline dataflow_region* dataflow_region::current_ = nullptr;
inline dataflow_region::stage* dataflow_region::running_ = nullptr;
inline std::uint64_t dataflow_region::transfers_ = 0;

template <class T, int DEPTH = 0>
class stream;

// Of any depth: what a stage takes.
template <class T>
class stream<T, 0> {
public:
    stream() : stream("a stream") {}
    explicit stream(const char* name, std::size_t depth = 0) : name_(name), depth_(depth) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    bool empty() const { return values_.empty(); }
    bool full() const { return depth_ != 0 && values_.size() >= depth_; }
    std::size_t size() const { return values_.size(); }
    std::size_t most() const { return most_; }
    std::size_t capacity() const { return depth_; }
    const char* name() const { return name_; }

    T read() {
        while (empty()) dataflow_region::idle("waits to read", name_);
        T value = values_.front();
        values_.pop_front();
        dataflow_region::note_transfer();
        return value;
    }

    void read(T& value) { value = read(); }

    bool read_nb(T& value) {
        if (empty()) return false;
        value = read();
        return true;
    }

    void write(const T& value) {
        while (full()) dataflow_region::idle("waits to write", name_);
        values_.push_back(value);
        if (values_.size() > most_) most_ = values_.size();
        dataflow_region::note_transfer();
    }

    bool write_nb(const T& value) {
        if (full()) return false;
        write(value);
        return true;
    }

private:
    const char* name_;
    std::size_t depth_;
    std::size_t most_ = 0;
    std::deque<T> values_;
};

template <class T, int DEPTH>
class stream : public stream<T, 0> {
public:
    stream() : stream<T, 0>("a stream", DEPTH) {}
    explicit stream(const char* name) : stream<T, 0>(name, DEPTH) {}
};

}  // namespace hls

#endif
