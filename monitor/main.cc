// ktstr-monitor: samples of a guest's scheduler, from its memory alone.
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "monitor/service.h"
#include "protocol/error.h"
#include "protocol/log.h"

namespace ktstr {
namespace {

struct CommandLine {
  MonitorOptions options;
  bool printSeccomp = false;
};

CommandLine parse(int argc, char** argv) {
  CommandLine line;
  MonitorOptions& options = line.options;
  std::string format = "jsonl";
  CLI::App app(
      "Finds the Linux kernel in a guest's memory and samples its runqueues. Records go to standard output.",
      "ktstr-monitor");
  auto* source = app.add_option_group("source")->require_option(1);
  source->add_option("--vm", options.vmPath, "Observe socket of a VMM");
  source->add_option("--vm-fd", options.vmFd, "Connected observe socket")->check(CLI::Range(3, 1 << 20));
  source->add_option("--ram", options.ramPath, "Raw RAM file in the machine model's layout");
  source->add_flag("--print-seccomp", line.printSeccomp,
                   "Print the system calls allowed after start, and exit");
  app.add_option("--analysis-fd", options.analysisFd, "Connected socket of an analysis store")
      ->check(CLI::Range(3, 1 << 20));
  app.add_option("--build-id", options.buildId, "Build id of the kernel that is expected, hex");
  app.add_option("--period-ms", options.periodMs, "Time between samples")
      ->capture_default_str()
      ->check(CLI::Range(1, 3'600'000));
  app.add_option("--count", options.count, "Samples to take; 0 = until the end")->capture_default_str();
  app.add_option("--format", format, "jsonl, capnp or text")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) std::exit(app.exit(error));
    throw Error(ExitCode::usage, "command-line-invalid", error.what(), "see ktstr-monitor --help");
  }
  options.format = parseRecordFormat(format);
  return line;
}

// Whatever else the parent left open is none of our business.
void closeInherited(const MonitorOptions& options) {
  unsigned from = 3;
  for (const int keep :
       {std::min(options.vmFd, options.analysisFd), std::max(options.vmFd, options.analysisFd)}) {
    if (keep < static_cast<int>(from)) continue;
    if (static_cast<unsigned>(keep) > from) close_range(from, static_cast<unsigned>(keep) - 1, 0);
    from = static_cast<unsigned>(keep) + 1;
  }
  close_range(from, ~0u, 0);
}

ExitCode monitor(int argc, char** argv) {
  const CommandLine line = parse(argc, argv);
  if (line.printSeccomp) {
    for (const auto& rule : monitorSandbox().describe()) std::cout << rule << '\n';
    return ExitCode::pass;
  }
  closeInherited(line.options);
  log::start("ktstr-monitor");
  mallopt(M_MMAP_THRESHOLD, 1 << 30);  // large blocks from brk: growing them needs no mremap
  auto io = kj::setupAsyncIo();
  MonitorService service(io, line.options);
  service.open();
  monitorSandbox().lockDown();
  return service.run();
}

}  // namespace
}  // namespace ktstr

int main(int argc, char** argv) {
  try {
    return static_cast<int>(ktstr::monitor(argc, argv));
  } catch (const ktstr::Error& error) {
    std::cerr << "ktstr-monitor: " << error.what() << '\n';
    return static_cast<int>(error.code());
  } catch (const kj::Exception& exception) {
    std::cerr << "ktstr-monitor: internal: " << exception.getDescription().cStr() << '\n';
  } catch (const std::exception& exception) {
    std::cerr << "ktstr-monitor: internal: " << exception.what() << '\n';
  }
  return static_cast<int>(ktstr::ExitCode::infrastructure);
}
