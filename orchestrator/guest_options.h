// What a run makes of its guest besides the scenario: sysctls, kernel arguments, files, switches, the cgroup
// that the scenario is below.
#pragma once

#include <string>
#include <vector>

#include "guest/image/initramfs.h"
#include "orchestrator/options.h"
#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"

namespace ktstr {

// Checks all of it, and brings into the other options what it means for them: the kernel's arguments into the
// command line, --scheduler-config as a file among the includes and "--config PATH" before the scheduler's
// arguments. Throws Error as the functions below; "option-invalid" also for a configuration without a
// scheduler, and for map writes (of which the last for each place stays) that are not MAP:PLACE=VALUE, have
// no scheduler, or a VMM that stands by.
void applyGuestOptions(RunOptions& options);

// The operations writeMap of a scenario, after applyGuestOptions(): Error "option-invalid" for a VMM that
// stands by, and for more writes than a run may make together with --map-write (protocol/map_write.h).
void checkScenarioWrites(const RunOptions& options, rpc::Scenario::Reader scenario);

// The words that go to the kernel, each after a blank. Throws Error "kernel-argument-invalid" for one that
// would override what the machine is started with (console, init, memory, CPUs, ...), or that is no single
// word.
std::string kernelArguments(const GuestOptions& options);

// The host's files for the image: FILE[:GUESTPATH], by default /include-files/NAME. A name without a slash is
// looked for in the working directory, then in PATH; a directory brings all that is below it. Two host files
// for one place are Error "include-conflict" with both origins; a file that is not there "include-missing".
std::vector<ImageFile> includeFiles(const GuestOptions& options);

// Fills GuestOrders.sysctls, files, enable, disable, cgroupParent. Throws Error "option-invalid" for what is
// not written as NAME=VALUE, or names no place that may be written.
void writeGuestOptions(const GuestOptions& options, rpc::GuestOrders::Builder orders);

// The same for the record, after applyGuestOptions().
void writeSettings(const RunOptions& options, rpc::GuestSettings::Builder settings);

}  // namespace ktstr
