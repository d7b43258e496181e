// What `ktstr run` was asked to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/topology.h"

namespace ktstr {

enum class OutputFormat { human, jsonl, capnp };

// What is made of the guest before the scheduler starts (guest_options.h), each as the words of the command
// line.
struct GuestOptions {
  std::vector<std::string> sysctls = {};               // NAME=VALUE, in this order
  std::vector<std::string> kernelArguments = {};       // of the kernel command line
  std::vector<std::string> includes = {};              // FILE[:GUESTPATH]
  std::vector<std::string> files = {};                 // GUESTPATH=CONTENT
  std::vector<std::string> enable = {}, disable = {};  // PATH=VALUE, for a scheduler inside the kernel
  std::string cgroupParent = {};                       // /a/b
  std::vector<std::string> mapWrites = {};             // MAP:PLACE=VALUE, once the scheduler is enabled
  uint32_t watchdogMs = 0;                             // of every scheduler that is enabled; 0 = its own
};

struct RunOptions {
  std::string scenario;  // path, or "-" for standard input
  std::string kernel = "debian:7.3";
  Topology topology;
  std::string scheduler;  // path or name; empty = the kernel's own
  std::vector<std::string> schedulerArgs;
  std::vector<std::string> schedulerEnv;  // NAME=value
  uint32_t memoryMib = 0;                 // 0 = what the nodes declare, or 512 and 64 for each vCPU above 8
  std::string accelerator = "auto";       // auto, kvm, tcg
  std::optional<uint32_t> durationMs;     // overrides the scenario's
  std::optional<uint32_t> snapshots;      // overrides the scenario's
  OutputFormat format = OutputFormat::human;
  std::string vmm;  // directory of a VMM that stands by (`ktstr serve`); empty: one of our own
  std::string
      samples;  // where a monitor's records come from, a path or "-", with `vmm`; empty: a monitor of our own
  bool besideEevdf = false;        // the scenario again without the scheduler, in the same machine
  bool keep = false;               // keep the guest's RAM as ram.bin in the run's directory
  bool throughBzImage = false;     // let the kernel's own decompressor place it (full KASLR)
  std::string commandLine;         // appended to the kernel command line
  bool performanceMode = false;    // orchestrator/performance.h
  bool noPerformanceMode = false;  // not even what every machine gets; also KTSTR_NO_PERF_MODE
  GuestOptions guest;
  std::string
      schedulerConfig;  // a file of the host: packed, and --config with its place before the arguments
  uint32_t cleanupBudgetMs = 0;  // the machine's end, from the guest's last event on; 0 = no limit
  uint32_t bootTimeoutMs = 60'000;
  uint32_t attachTimeoutMs = 30'000;
  uint32_t samplePeriodMs = 100;  // of the monitor
  bool progress = false;          // show the phase line on stderr
};

// "1500ms", "2s", "1m", "2" (seconds). Throws Error "duration-invalid".
uint32_t parseDuration(const std::string& text);

// "512M", "2G", "512" (MiB). Throws Error "memory-invalid".
uint32_t parseMemory(const std::string& text);

}  // namespace ktstr
