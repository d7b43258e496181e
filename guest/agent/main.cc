// ktstr-guest: PID 1 of the guest. There is nothing to confine here: the machine around it is the sandbox,
// and the host believes nothing it says without a check.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "guest/agent/agent.h"
#include "guest/agent/system.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace {

using namespace ktstr::agent;

// When the host cannot be told in any other way.
void tellConsole(const std::string& what) {
  const ktstr::Fd console(open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC));
  dprintf(console ? console.get() : STDERR_FILENO, "\nktstr-guest: %s\n", what.c_str());
}

void liftLimits() {
  const rlimit descriptors = {65536, 65536};  // four for each pair of pipe workers
  setrlimit(RLIMIT_NOFILE, &descriptors);
}

void live() {
  Environment environment;
  environment.uptimeMs = uptimeMs();
  liftLimits();
  mountFirst();
  const CommandLine line = parseCommandLine(ktstr::readFile("/proc/cmdline"));
  const ktstr::Mapping mailbox = mapMailbox(line);
  Channel channel(mailbox.bytes(), openDoorbell());
  environment.inject = line.inject;
  try {
    raiseOwnPriority();
    mountRest();
    if (line.lateCpus) bringCpusOnline();
    countForMonitor();
    runOrders(channel, environment);
  } catch (const Failure& failure) {
    channel.failure(failure);
  }
  channel.done();
}

}  // namespace

int main() {
  if (getpid() != 1) {
    dprintf(STDERR_FILENO, "ktstr-guest is the init of a ktstr guest; it does nothing elsewhere\n");
    return 2;
  }
  try {
    live();
  } catch (const Failure& failure) {
    tellConsole(failureText(failure.name) + ": " + failure.message);
  } catch (const std::exception& error) {
    tellConsole(error.what());
  }
  reset();
}
