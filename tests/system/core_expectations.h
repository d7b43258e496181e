// What is expected of a running guest's ELF vmcore, and of what `support` says of its kernel.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "protocol/fd.h"
#include "tests/system/guest_shell.h"

namespace ktstr::testing {

// JSON Lines.
std::vector<nlohmann::json> parseLines(const std::string& lines);

// A core of a guest, in memory, and what the guest itself said of its kernel.
struct GuestCore {
  Fd file;
  std::string initTask;  // address, hex, from /proc/kallsyms
  std::string path() const;
};

// Writes a core as a monitor does, through the guest's Observer while the guest runs. Expects that every look
// at it says what a look at the guest says, and that the guest goes on.
GuestCore expectCoreOfTheGuest(GuestShell& guest);

// A core taken through an Observer lists the tasks that the guest had before and after it.
void expectCoreToListTheTasks(kj::AsyncIoContext& io, rpc::Observer::Client observer);

// Why drgn cannot be asked here, or nothing.
std::optional<std::string> whyNoDrgn();

// drgn, with types from the kernel's own BTF, lists the tasks in the core as we do: the same ones in the same
// order, each member equal.
void expectDrgnToListTheSameTasks(const GuestCore& core, const std::string& kernel);

// `ktstr-monitor support` says of the guest's kernel what the column of README's table says.
void expectSupportAsInReadme(GuestShell& guest, const std::string& kernel);
// The same of JSON Lines that `support` has printed.
void expectSupportAsInReadme(const std::string& lines, const std::string& kernel);

}  // namespace ktstr::testing
