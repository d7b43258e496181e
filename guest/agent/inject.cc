#include "guest/agent/inject.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "guest/agent/system.h"

namespace ktstr::agent {
namespace {

void flood(Channel& channel) {
  const std::string line(4000, 'x');
  for (unsigned refused = 0; refused < 10;) refused += channel.postAtOnce(line) ? 0 : 1;
}

void panic() {
  writeAll(openFile("/proc/sysrq-trigger", O_WRONLY).get(), "c");
}

[[noreturn]] void hang(const std::vector<pid_t>& workers) {
  for (const pid_t worker : workers) kill(worker, SIGSTOP);
  for (;;) pause();
}

}  // namespace

void inject(const std::string& what, Channel& channel, const std::vector<pid_t>& workers) {
  if (what.empty()) return;
  if (what == "worker-crash") {
    kill(workers.front(), SIGSEGV);
  } else if (what == "worker-stuck") {
    kill(workers.front(), SIGSTOP);
  } else if (what == "flood") {
    flood(channel);
  } else if (what == "panic") {
    panic();
  } else if (what == "hang") {
    hang(workers);
  } else if (what == "no-done") {
    reset();
  } else {
    throw Failure(
        FailureName::ORDERS_INVALID,
        "ktstr.inject=" + what + " is none of worker-crash, worker-stuck, flood, panic, hang, no-done");
  }
}

}  // namespace ktstr::agent
