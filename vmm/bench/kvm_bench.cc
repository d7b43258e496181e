// kvm-bench [RUNS]: what ktstr-vmm costs on this machine's /dev/kvm, beside QEMU's microvm with the same
// guest. Prints a line per measurement, "NAME<TAB>VALUE<TAB>UNIT", or "skipped<TAB>REASON";
// tests/tools/bench.sh sums up.
#include <capnp/message.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <sstream>
#include <thread>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"
#include "vmm/tcg/firmware.h"
#include "vmm/test_client.h"

namespace ktstr::vmm {
namespace {

constexpr uint64_t kRamBytes = uint64_t{512} << 20;
constexpr uint32_t kVcpus = 4;
constexpr int kRow = 100, kAtOnce = 8;

void report(const std::string& name, double value, const char* unit) {
  std::cout << name << '\t' << value << '\t' << unit << std::endl;
}

void skip(const std::string& reason) {
  std::cout << "skipped\t" << reason << std::endl;
}

double millis(uint64_t from, uint64_t to) {
  return static_cast<double>(to - from) / 1e6;
}

// When the guest's first instruction has stored to its RAM, seen from outside.
class FirstStore {
 public:
  explicit FirstStore(const Fd& ram) : page_(ram.get(), kFlatStarts & ~uint64_t{0xfff}, 4096, PROT_READ) {}

  uint64_t await() const {
    const auto* word = reinterpret_cast<const uint64_t*>(page_.data() + (kFlatStarts & 0xfff));
    const uint64_t late = monotonicNs() + 10'000'000'000;
    while (__atomic_load_n(word, __ATOMIC_RELAXED) == 0) {
      if (monotonicNs() > late)
        throw Error(ExitCode::infrastructure, "guest-silent", "no instruction in 10 s");
      const timespec pause{0, 10'000};
      nanosleep(&pause, nullptr);
    }
    return monotonicNs();
  }

 private:
  Mapping page_;
};

// ---- ktstr-vmm

// As it is started outside tests.
class Vmm : public TestClient {
 public:
  Vmm() : TestClient("ktstr-vmm") {}

  // Sends boot and start at once and waits for both.
  rpc::Machine::Client run(capnp::Request<rpc::Vmm::BootParams, rpc::Vmm::BootResults>& request) {
    auto booting = request.send();
    rpc::Machine::Client machine = booting.getMachine();
    wait(machine.startRequest().send());
    return machine;
  }
  // As the orchestrator ends it.
  void end(rpc::Machine::Client machine) {
    wait(machine.stopRequest().send());
    disconnect();
    const int status = process().wait();
    if (status != 0) throw Error(ExitCode::infrastructure, "vmm-failed", describeWaitStatus(status));
  }
  double cpuMillis() {
    clockid_t clock{};
    timespec time{};
    if (clock_getcpuclockid(process().pid(), &clock) != 0 || clock_gettime(clock, &time) != 0) {
      throw errnoError("clock-failed", "read the VMM's CPU clock");
    }
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
  }
};

// Of a VMM that waits, as it does while the orchestrator prepares the machine.
void measureRequest() {
  const TestMachine machine(kRamBytes, kVcpus);
  const FirstStore store(machine.ram);
  Vmm vmm;
  auto request = vmm.bootRequest(machine);
  usleep(50'000);
  const uint64_t begin = monotonicNs();
  auto running = vmm.run(request);
  report("request to first instruction", millis(begin, store.await()), "ms");
  vmm.end(running);
}

void measureStart() {
  const TestMachine machine(kRamBytes, kVcpus);
  const FirstStore store(machine.ram);
  const uint64_t begin = monotonicNs();
  Vmm vmm;
  auto request = vmm.bootRequest(machine);
  auto running = vmm.run(request);
  report("exec to first instruction", millis(begin, store.await()), "ms");
  vmm.end(running);
}

// A mapping's line in smaps, "START-END ...", as opposed to "Rss: ...".
bool isMapping(const std::string& line) {
  return line.find('-') < line.find(' ');
}

struct Resident {
  double own = 0, files = 0;  // MiB; files: of own, what is file-backed, that is, programs and libraries
};

// What is resident of everything but memory shared with the guest.
Resident residentOf(pid_t pid, const std::string& base) {
  std::istringstream smaps(readFile(text("/proc/", pid, "/smaps")));
  bool guest = false, file = false;
  Resident resident;
  for (std::string line; std::getline(smaps, line);) {
    if (isMapping(line)) {
      guest = line.find("/memfd:") != std::string::npos || line.find(base) != std::string::npos;
      file = line.find(" /") != std::string::npos;
    } else if (line.starts_with("Rss:") && !guest) {
      const double mib = atof(line.c_str() + 4) / 1024;
      resident.own += mib;
      resident.files += file ? mib : 0;
    }
  }
  return resident;
}

void measureCost() {
  const TestMachine machine(kRamBytes, kVcpus);
  const FirstStore store(machine.ram);
  Vmm vmm;
  vmm.wait(vmm.vmm().infoRequest().send());
  report("CPU time until it answers", vmm.cpuMillis(), "ms");
  auto booted = vmm.boot(machine);
  report("CPU time until it has booted", vmm.cpuMillis(), "ms");
  vmm.wait(booted.startRequest().send());
  store.await();
  const Resident resident = residentOf(vmm.process().pid(), machine.basePath);
  report("resident above guest RAM", resident.own, "MiB");
  report("resident files", resident.files, "MiB");
  vmm.end(booted);
}

// ---- the rival

// The same guest in the same RAM: what puts the boot vCPU into its first state is 64 KiB of ROM.
Fd makeRom(const TestMachine& machine) {
  capnp::MallocMessageBuilder message;
  auto prepared = message.initRoot<rpc::PreparedMachine>();
  machine.describe(prepared);
  const auto vcpu = prepared.getVcpus()[0].asReader();
  Fd rom = makeMemfd("rival-rom", 0);
  writeRom(rom.get(), {vcpu.getRip(), vcpu.getRsi(), vcpu.getRsp(), vcpu.getCr3(), vcpu.getGdtGpa(),
                       vcpu.getGdtLimit()});
  return rom;
}

class Microvm {
 public:
  Microvm() : machine_(kRamBytes, kVcpus), rom_(makeRom(machine_)), null_(openFile("/dev/null", O_RDWR)) {}

  static std::string whyNot() {
    if (!findProgram("qemu-system-x86_64")) return "there is no qemu-system-x86_64 to compare with";
    const Fd output = makeMemfd("machines", 0);
    SpawnOptions options;
    options.executable = *findProgram("qemu-system-x86_64");
    // Without arch-capabilities: QEMU aborts where KVM does not take that MSR.
    options.arguments = {"-M", "help"};
    options.standardOutput = output.get();
    spawn(options).wait();
    const bool has = readAll(output.get()).find("\nmicrovm ") != std::string::npos;
    return has ? "" : "this QEMU has no machine microvm to compare with";
  }

  double millisToFirstInstruction() {
    const FirstStore store(machine_.ram);
    const SpawnOptions options = command();
    const uint64_t begin = monotonicNs();
    const Child qemu = spawn(options);
    return millis(begin, store.await());
  }

 private:
  SpawnOptions command() const {
    SpawnOptions options;
    options.executable = *findProgram("qemu-system-x86_64");
    options.arguments = {"-M",   "microvm,memory-backend=ram", "-accel", "kvm",
                         "-cpu", "max,-arch-capabilities",     "-smp",   text(kVcpus)};
    for (const char* argument : {"-m", "512", "-nodefaults", "-no-user-config", "-display", "none", "-serial",
                                 "none", "-monitor", "none", "-bios", "/proc/self/fd/4", "-object",
                                 "memory-backend-file,id=ram,size=512M,share=on,mem-path=/proc/self/fd/3"}) {
      options.arguments.push_back(argument);
    }
    options.descriptors = {{machine_.ram.get(), 3}, {rom_.get(), 4}};
    options.standardError = null_.get();
    return options;
  }

  const TestMachine machine_;
  Fd rom_, null_;
};

// ---- many

size_t openDescriptors() {
  DIR* directory = opendir("/proc/self/fd");
  size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

struct OneOfARow {
  double millis, resident;
};

OneOfARow oneOfARow() {
  const uint64_t begin = monotonicNs();
  const TestMachine machine(kRamBytes, kVcpus);
  Vmm vmm;
  auto request = vmm.bootRequest(machine);
  auto running = vmm.run(request);
  FirstStore(machine.ram).await();
  const uint64_t looking = monotonicNs();
  const double resident = residentOf(vmm.process().pid(), machine.basePath).own;
  const uint64_t looked = monotonicNs();
  vmm.end(running);
  return {millis(begin, looking) + millis(looked, monotonicNs()), resident};
}

// What the kernel holds and cannot give back, in MiB.
double kernelMemory() {
  const std::string all = readFile("/proc/meminfo");
  const size_t at = all.find("SUnreclaim:");
  return at == std::string::npos ? 0 : atof(all.c_str() + at + strlen("SUnreclaim:")) / 1024;
}

double sumOf(const std::vector<double>& values, size_t from, size_t count) {
  double sum = 0;
  for (size_t i = from; i < from + count; ++i) sum += values[i];
  return sum;
}

void measureRow() {
  const double resident = oneOfARow().resident;
  const double kernel = kernelMemory();
  const auto descriptors = static_cast<double>(openDescriptors());
  const auto children = static_cast<double>(descendants(getpid()).size());
  std::vector<double> times;
  double last = 0;
  for (int i = 0; i < kRow; ++i) {
    const OneOfARow one = oneOfARow();
    times.push_back(one.millis);
    last = one.resident;
  }
  for (const double time : times) report("one of a row", time, "ms");
  report("row, last tenth against first",
         sumOf(times, kRow - kRow / 10, kRow / 10) / sumOf(times, 0, kRow / 10), "x");
  report("row, resident, last against first", last - resident, "MiB");
  report("row, kernel memory grown", kernelMemory() - kernel, "MiB");
  report("row, descriptors left", static_cast<double>(openDescriptors()) - descriptors, "descriptors");
  report("row, processes left", static_cast<double>(descendants(getpid()).size()) - children, "processes");
}

// One of several that start together and run until all do.
void runOneOfMany(std::barrier<>& together, uint64_t& first) {
  const TestMachine machine(kRamBytes, kVcpus);
  const FirstStore store(machine.ram);
  together.arrive_and_wait();
  Vmm vmm;
  auto request = vmm.bootRequest(machine);
  auto running = vmm.run(request);
  first = store.await();
  together.arrive_and_wait();
  vmm.end(running);
}

void measureAtOnce() {
  std::barrier together(kAtOnce + 1);
  std::vector<uint64_t> first(kAtOnce);
  std::vector<std::thread> threads;
  for (uint64_t& one : first) threads.emplace_back([&] { runOneOfMany(together, one); });
  together.arrive_and_wait();
  const uint64_t begin = monotonicNs();
  together.arrive_and_wait();
  report("at once, all at their first instruction",
         millis(begin, *std::max_element(first.begin(), first.end())), "ms");
  for (std::thread& thread : threads) thread.join();
}

int run(int runs) {
  if (const std::string why = whyNoKvm(); !why.empty()) {
    skip(why);
    return static_cast<int>(ExitCode::skipped);
  }
  prctl(PR_SET_TIMERSLACK, 1);
  const std::string noRival = Microvm::whyNot();
  if (!noRival.empty()) skip(noRival);
  for (int i = 0; i < runs; ++i) {
    measureRequest();
    measureStart();
    if (noRival.empty())
      report("rival: exec to first instruction", Microvm().millisToFirstInstruction(), "ms");
    measureCost();
    measureAtOnce();
  }
  measureRow();
  return 0;
}

}  // namespace
}  // namespace ktstr::vmm

int main(int argc, char** argv) {
  try {
    return ktstr::vmm::run(argc > 1 ? atoi(argv[1]) : 5);
  } catch (const std::exception& e) {
    std::cerr << "kvm-bench: " << e.what() << '\n';
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  }
}
