#include "orchestrator/programs.h"

#include <algorithm>

#include "guest/scenario/programs.h"
#include "orchestrator/tool.h"
#include "protocol/error.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

std::string baseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// With a slash: taken as it is; building the image says what is wrong with it.
std::optional<std::string> pathOf(const std::string& wanted) {
  return wanted.find('/') != std::string::npos ? wanted : findProgram(wanted);
}

SchedulerProgram resolveScheduler(const std::string& wanted, const cache::Entry& kernel) {
  const auto facts = kernel.record().getKernel();
  if (!facts.getHasSchedExt()) {
    throw Error(
        ExitCode::usage, "sched-ext-unsupported",
        text("kernel ", facts.getRelease().cStr(), " has no sched_ext, so ", wanted, " cannot be loaded"),
        "run without --scheduler to test EEVDF, or choose a kernel from 6.16 on, for example debian:7.3");
  }
  std::optional<std::string> path = pathOf(wanted);
  if (!path) {
    path = toolOutput("ktstr-kbuild", {"path", wanted}, "scheduler-not-found");
    while (!path->empty() && path->back() == '\n') path->pop_back();
  }
  return {baseName(*path), *path, guestProgram(*path)};
}

ImageFile resolveProgram(const std::string& wanted, const char* failure) {
  const std::optional<std::string> path = pathOf(wanted);
  if (!path) {
    throw Error(ExitCode::usage, failure, text("there is no program \"", wanted, "\" in PATH"),
                "install it, or name its path");
  }
  return {guestProgram(wanted), *path};
}

}  // namespace

bool isLoaded(const std::string& scheduler) {
  return !scheduler.empty() && scheduler != "eevdf";
}

Programs resolvePrograms(const std::string& underTest, rpc::Scenario::Reader scenario,
                         const cache::Entry& kernel) {
  Programs programs;
  programs.underTest =
      isLoaded(underTest) ? resolveScheduler(underTest, kernel) : SchedulerProgram{"eevdf", "", ""};
  for (const auto& scheduler : scenario.getSchedulers()) {
    if (!isLoaded(scheduler.getBinary().cStr())) {
      throw Error(ExitCode::usage, "scheduler-not-found",
                  text("scheduler \"", scheduler.getName().cStr(), "\" of the scenario: EEVDF is no binary"),
                  "detachScheduler gives the tasks to EEVDF");
    }
    programs.named.push_back(resolveScheduler(scheduler.getBinary().cStr(), kernel));
  }
  for (const std::string& binary : payloadBinaries(scenario))
    programs.payloads.push_back(resolveProgram(binary, "payload-not-found"));
  for (const std::string& program : customPrograms(scenario)) {
    if (program.empty()) {
      throw Error(ExitCode::usage, "custom-program-missing",
                  "custom work of the scenario does not say whose function it is",
                  "give \"program\" with \"name\": a test program that has it by KTSTR_WORK");
    }
    programs.custom.push_back(resolveProgram(program, "custom-program-missing"));
  }
  return programs;
}

std::vector<ImageFile> imageFiles(const Programs& programs) {
  std::vector<ImageFile> files;
  const auto add = [&](const ImageFile& file) {
    const auto same = [&](const ImageFile& other) { return other.guestPath == file.guestPath; };
    const auto known = std::find_if(files.begin(), files.end(), same);
    if (known == files.end()) return files.push_back(file);
    if (known->hostPath == file.hostPath) return;
    throw Error(ExitCode::usage, "image-path-invalid",
                text(known->hostPath, " and ", file.hostPath, " would both be ", file.guestPath),
                "give one of them another name");
  };
  if (!programs.underTest.hostPath.empty()) add({programs.underTest.guestPath, programs.underTest.hostPath});
  for (const SchedulerProgram& scheduler : programs.named) add({scheduler.guestPath, scheduler.hostPath});
  for (const ImageFile& payload : programs.payloads) add(payload);
  for (const ImageFile& program : programs.custom) add(program);
  return files;
}

}  // namespace ktstr
