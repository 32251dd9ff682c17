// Gives the test bench its clock until it finishes.
#include <memory>

#include "Vbench.h"
#include "verilated.h"

int main(int count, char** words) {
    const std::unique_ptr<VerilatedContext> context(new VerilatedContext);
    context->commandArgs(count, words);
    const std::unique_ptr<Vbench> bench(new Vbench(context.get()));
    bench->clk = 0;
    while (!context->gotFinish()) {
        bench->eval();
        context->timeInc(1);
        bench->clk = !bench->clk;
    }
    bench->final();
    return 0;
}
