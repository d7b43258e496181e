// What a look into a guest costs, from its RAM in a file:
//   monitor-bench RAM [RUNS]
// prints "name <tab> value <tab> unit" for each run: the medians are for who reads it.
#include <capnp/message.h>
#include <fcntl.h>

#include <cstdlib>
#include <iostream>

#include "monitor/bpf_objects.h"
#include "monitor/inspect.h"
#include "monitor/sampler.h"
#include "monitor/task_list.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr {
namespace {

template <typename Work>
void measure(const char* name, unsigned runs, Work work) {
  work();  // maps the pages
  for (unsigned i = 0; i < runs; ++i) {
    const uint64_t begin = monotonicNs();
    work();
    std::cout << name << '\t' << static_cast<double>(monotonicNs() - begin) / 1000 << "\tus\n";
  }
}

void bench(const char* path, unsigned runs) {
  Fd file = openFile(path, O_RDONLY);
  const uint64_t bytes = fileSize(file.get());
  const RamFile ram(std::move(file), modelRamLayout(bytes));
  Attacher attacher(ram, {}, {});
  const auto attachment = attacher.attempt();
  if (!attachment)
    throw Error(ExitCode::inconclusive, "kernel-not-found", attacher.reason(), "give a booted guest's RAM");
  const GuestKernel& kernel = *attachment->kernel;
  const KernelLayout& layout = attachment->analysis->layout();
  Sampler sampler(*attachment);
  std::cout << "number of CPUs\t" << sampler.cpuCount() << "\t\n";
  measure("full sample", runs, [&] {
    capnp::MallocMessageBuilder message;
    sampler.sample(message.initRoot<rpc::Sample>());
  });
  std::cout << "number of tasks\t" << listTasks(kernel, layout, 100'000).found.size() << "\t\n";
  measure("task list", runs, [&] { listTasks(kernel, layout, 100'000); });
  measure("BPF maps and programs", runs, [&] {
    const BpfObjects objects(kernel, layout);
    objects.maps();
    objects.programs();
  });
  measure("kernel types", runs, [&] { readKernelTypes(kernel); });
  const BtfTypes types = readKernelTypes(kernel);
  const uint32_t task = findType(types, "task_struct");
  std::vector<std::byte> value(typeSize(types, task).value());
  kernel.copy(kernel.symbol("init_task").value(), value);
  measure("task_struct as JSON", runs, [&] {
    valueAsJson(Renderer(types, kernel).render({task, 0, 0, 0}, value));
  });
}

}  // namespace
}  // namespace ktstr

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "monitor-bench RAM [RUNS]\n";
    return static_cast<int>(ktstr::ExitCode::usage);
  }
  try {
    ktstr::bench(argv[1], argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 5);
    return 0;
  } catch (const ktstr::Error& error) {
    std::cerr << "monitor-bench: " << error.what() << '\n';
    return static_cast<int>(error.code());
  }
}
