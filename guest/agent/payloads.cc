#include "guest/agent/payloads.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "guest/agent/program.h"
#include "guest/agent/scheduler_log.h"
#include "guest/scenario/programs.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr size_t evidenceBytes = 1024;

std::string lastBytes(const std::string& text, size_t count) {
  return toUtf8(std::string_view(text).substr(text.size() - std::min(text.size(), count)));
}

void fillExit(int status, rpc::WorkerExit::Builder exit) {
  if (WIFSIGNALED(status)) return exit.setSignal(static_cast<uint32_t>(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return exit.setCode(WEXITSTATUS(status));
  exit.setClean();
}

}  // namespace

Payloads::~Payloads() {
  kill([](const RunningPayload&) { return true; });
}

void Payloads::run(uint32_t step, rpc::Payload::Reader payload) {
  RunningPayload running{.step = step,
                         .owner = step,
                         .name = payload.getName().cStr(),
                         .cgroup = payload.getCgroup().cStr(),
                         .expected = payload.getExitCode()};
  Program program{.path = guestProgram(payload.getBinary().cStr()),
                  .arguments = {},
                  .environment = {},
                  .cgroup = running.cgroup.empty() ? "" : cgroups_.directory(running.cgroup)};
  for (const auto& argument : payload.getArgs()) program.arguments.emplace_back(argument.cStr());
  StartedProgram started = startProgram(program, FailureName::PAYLOAD_FAILED);
  running.pid = started.pid;
  running.output = std::move(started.output);
  running.startedNs = monotonicNs();
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initPayloadStarted();
    out.setName(running.name);
    out.setPid(static_cast<uint32_t>(running.pid));
    out.setCgroup(running.cgroup);
  });
  running_.push_back(std::move(running));
}

void Payloads::drain(RunningPayload& payload) {
  char bytes[4096];
  ssize_t got = 0;
  for (int turn = 0; turn < 16 && payload.output; turn++) {
    got = read(payload.output.get(), bytes, sizeof bytes);
    if (got < 0) return;
    if (got == 0) payload.output.reset();  // all writers are gone
    payload.tail.append(bytes, static_cast<size_t>(got));
    if (payload.tail.size() > tailBytes) payload.tail.erase(0, payload.tail.size() - tailBytes);
  }
}

void Payloads::drain() {
  for (RunningPayload& payload : running_) drain(payload);
}

std::vector<int> Payloads::outputs() const {
  std::vector<int> result;
  for (const RunningPayload& payload : running_) {
    if (payload.output) result.push_back(payload.output.get());
  }
  return result;
}

bool Payloads::ended(const ChildExit& child) {
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [&](const RunningPayload& payload) { return payload.pid == child.pid; });
  if (found == running_.end()) return false;
  drain(*found);                 // a pipe holds no more than one call reads
  ::kill(-found->pid, SIGKILL);  // what it left of its process group
  report(*found, child.status);
  running_.erase(found);
  return true;
}

void Payloads::report(const RunningPayload& payload, int status) {
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initPayloadEnded();
    out.setStep(payload.step);
    out.setName(payload.name);
    out.setCgroup(payload.cgroup);
    fillExit(status, out.initExited());
    out.setKilled(payload.killed);
    out.setOutput(toUtf8(payload.tail));
    out.setWallNs(monotonicNs() - payload.startedNs);
  });
  if (payload.killed || (WIFEXITED(status) && WEXITSTATUS(status) == payload.expected)) return;
  Failure failure(FailureName::PAYLOAD_FAILED,
                  text("payload ", payload.name, " (pid ", payload.pid,
                       ") ended: ", describeWaitStatus(status), ", not exit code ", payload.expected,
                       payload.tail.empty() ? "; it printed nothing"
                                            : "; it printed:\n" + lastBytes(payload.tail, evidenceBytes)));
  failure.step = payload.step;
  failure.cgroup = payload.cgroup;
  channel_.failure(failure);
}

bool Payloads::any(const Choice& choice) const {
  return std::any_of(running_.begin(), running_.end(), choice);
}

void Payloads::kill(const Choice& choice) {
  for (RunningPayload& payload : running_) {
    if (!choice(payload)) continue;
    payload.killed = true;
    ::kill(-payload.pid, SIGKILL);
  }
}

uint32_t Payloads::move(const std::string& from, const std::string& to, std::optional<uint32_t> owner) {
  uint32_t count = 0;
  for (RunningPayload& payload : running_) {
    if (payload.cgroup != from) continue;
    for (const pid_t pid : cgroups_.processes(from)) cgroups_.addProcess(to, pid);  // and its children
    payload.cgroup = to;
    payload.owner = owner.value_or(payload.owner);
    count++;
  }
  return count;
}

}  // namespace ktstr::agent
