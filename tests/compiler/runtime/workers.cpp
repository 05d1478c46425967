// What workers do, in which order: of one, whose first work waits until all is added; of several; and of those that
// end.
#include <cstdio>
#include <future>

#include "cnngen/parallel.hpp"

int main() {
    std::promise<void> added;
    std::vector<int> order;
    {
        std::promise<void> done;
        cnngen::Workers one(1);
        one.add([&](std::size_t) { added.get_future().wait(); });
        for (int i = 1; i <= 3; ++i) one.add([&, i](std::size_t) { order.push_back(i); });
        one.add_first([&](std::size_t) { order.push_back(0); });
        one.add([&](std::size_t) { done.set_value(); });
        added.set_value();
        done.get_future().wait();
    }
    for (const int i : order) std::printf("%d ", i);

    std::atomic<int> sum = 0, strangers = 0;
    std::promise<void> all;
    {
        cnngen::Workers several(4);
        for (int i = 0; i < 1000; ++i) {
            several.add([&](std::size_t worker) {
                if (worker >= 4) ++strangers;
                if (++sum == 1000) all.set_value();
            });
        }
        all.get_future().wait();
    }
    std::printf("%d %d ", sum.load(), strangers.load());

    std::atomic<int> begun = 0;
    std::promise<void> is_under_way;
    {
        cnngen::Workers few(1);
        few.add([&](std::size_t) {
            is_under_way.set_value();
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            ++begun;
        });
        for (int i = 0; i < 10; ++i) few.add([&](std::size_t) { ++begun; });
        is_under_way.get_future().wait();
    }
    std::printf("%d\n", begun.load());
}
