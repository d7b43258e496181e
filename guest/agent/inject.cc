#include "guest/agent/inject.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "guest/agent/system.h"
#include "protocol/file.h"

namespace ktstr::agent {
namespace {

// Larger than any mailbox, so that it does not matter how fast the host reads.
void flood(Channel& channel) {
  const std::string line(size_t{16} << 20, 'x');
  for (unsigned i = 0; i < 10; i++) channel.postAtOnce(line);
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
