#include "guest/work/handover.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>
#include <vector>

#include "guest/work/crew.h"
#include "guest/work/custom.h"
#include "guest/work/setup_notes.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::work {
namespace {

// Both sides must agree on what they share: they are of one build of ktstr, or say so.
constexpr size_t layout = sizeof(WorkerPage);

Handover parse(const char* variable, size_t& theirLayout) {
  Handover handover;
  std::istringstream from(variable);
  from >> theirLayout >> handover.workers >> handover.first >> handover.count >> handover.threads >>
      handover.start >> handover.pages >> handover.notes >> handover.function;
  from.get();  // the blank
  std::getline(from, handover.comm);
  return handover;
}

void work(const Handover& handover, size_t theirLayout) {
  if (theirLayout != layout) {
    throw Error(ExitCode::usage, "custom-invalid",
                "the program was linked with the library of another version of ktstr", "link it anew");
  }
  findCustom(handover.function);
  if (!handover.comm.empty()) prctl(PR_SET_NAME, handover.comm.c_str());
  capnp::MallocMessageBuilder message;
  auto type = message.initRoot<rpc::WorkType>();
  type.initCustom().setName(handover.function);
  WorkGroup group(type.asReader(), handover.workers, {}, Fd(handover.pages));
  std::vector<Hand> crew;
  for (uint32_t index = handover.first; index < handover.first + handover.count; index++)
    crew.push_back({&group, index});
  runCrew(crew, handover.threads, handover.start);
}

void inherit(int fd) {
  fcntl(fd, F_SETFD, 0);
}

}  // namespace

std::string Handover::variable() const {
  return text(layout, ' ', workers, ' ', first, ' ', count, ' ', threads, ' ', start, ' ', pages, ' ', notes,
              ' ', function, ' ', comm);
}

int executeWorkers(const Handover& handover, const std::string& path) {
  for (const int fd : {handover.start, handover.pages, handover.notes}) inherit(fd);
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0) return errno;
  std::string program = path, variable = text(handoverVariable, '=', handover.variable());
  std::string filter = "GTEST_FILTER=KtstrWorker.*", search = "PATH=/bin:/ktstr/bin", home = "HOME=/tmp";
  char* arguments[] = {program.data(), nullptr};
  char* environment[] = {variable.data(), filter.data(), search.data(), home.data(), nullptr};
  execve(path.c_str(), arguments, environment);
  return errno;
}

void runHandedOver(const char* variable) noexcept {
  size_t theirLayout = 0;
  const Handover handover = parse(variable, theirLayout);
  try {
    work(handover, theirLayout);
  } catch (const std::exception& error) {
    SetupNotes(handover.workers, Fd(handover.notes)).leave(handover.first, error.what());
    _exit(setupFailedCode);
  }
  _exit(0);
}

}  // namespace ktstr::work
