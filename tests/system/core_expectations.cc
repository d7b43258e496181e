#include "tests/system/core_expectations.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using nlohmann::json;

constexpr const char* python = "/usr/bin/python3";  // Debian's own, for which python3-drgn is

std::vector<json> look(std::vector<std::string> words) {
  const Result result = ktstr(words, {.program = "ktstr-monitor"});
  EXPECT_EQ(result.exitCode, 0) << result.err;
  return parseLines(result.out);
}

// Runs a program of the host to its end; its standard output.
std::string outputOf(const std::vector<std::string>& words, int& status) {
  const Fd out = makeMemfd("output", 0);
  SpawnOptions options;
  options.executable = words.front();
  options.arguments.assign(words.begin() + 1, words.end());
  options.standardOutput = out.get();
  status = spawn(options).wait();
  return readAll(out.get());
}

// The same of a monitor at a machine's Observer.
Fd outputAt(kj::AsyncIoContext& io, rpc::Observer::Client observer, const char* command) {
  Fd out = makeMemfd("output", 0);
  auto sockets = makeSocketPair();
  const Connection proxy(*io.lowLevelProvider, std::move(sockets.first), std::move(observer));
  SpawnOptions options;
  options.executable = toolPath("ktstr-monitor");
  options.arguments = {command, "--vm-fd", "3"};
  options.descriptors = {{sockets.second.get(), 3}};
  options.standardOutput = out.get();
  Child child = spawn(options);
  while (!child.poll()) io.provider->getTimer().afterDelay(10 * kj::MILLISECONDS).wait(io.waitScope);
  EXPECT_EQ(describeWaitStatus(*child.poll()), "exit code 0");
  return out;
}

std::vector<json> only(const std::vector<json>& records, const std::vector<const char*>& members) {
  std::vector<json> all;
  for (const auto& record : records) {
    auto& own = all.emplace_back();
    for (const auto* const member : members) own[member] = record.at(member);
  }
  return all;
}

std::vector<std::string> cellsOf(const std::string& line) {
  std::istringstream row(line);
  std::vector<std::string> cells;
  for (std::string cell; std::getline(row, cell, '|');) {
    const auto first = cell.find_first_not_of(' '), last = cell.find_last_not_of(' ');
    cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
  }
  return cells;
}

// Of README's table of features: what it says of a kernel, by feature.
std::map<std::string, std::string> columnOfReadme(const std::string& kernel) {
  std::istringstream readme(readFile("README.md"));
  std::map<std::string, std::string> column;
  std::string line;
  while (std::getline(readme, line) && !line.starts_with("| feature |")) {
  }
  const auto head = cellsOf(line);
  const auto at = static_cast<size_t>(std::find(head.begin(), head.end(), kernel) - head.begin());
  std::getline(readme, line);
  while (std::getline(readme, line) && line.starts_with("|")) {
    const auto cells = cellsOf(line);
    if (at < cells.size()) column[cells[1]] = cells[at];
  }
  return column;
}

}  // namespace

std::vector<json> parseLines(const std::string& lines) {
  std::istringstream in(lines);
  std::vector<json> all;
  for (std::string line; std::getline(in, line);) all.push_back(json::parse(line));
  return all;
}

std::string GuestCore::path() const {
  return text("/proc/", getpid(), "/fd/", file.get());
}

GuestCore expectCoreOfTheGuest(GuestShell& guest) {
  GuestCore core;
  std::istringstream(guest.run("grep ' init_task$' /proc/kallsyms")) >> core.initTask;
  core.file = outputAt(guest.io(), guest.observer(), "core");

  const auto found = look({"symbol", "init_task", "--core", core.path()});
  EXPECT_EQ(found.at(0).at("address"), "0x" + core.initTask);
  const Fd ram = guest.ramFd();
  const std::string live = text("/proc/", getpid(), "/fd/", ram.get());
  EXPECT_EQ(look({"maps", "--core", core.path()}), look({"maps", "--ram", live}));
  EXPECT_EQ(look({"read", "scx_enable_state_var", "atomic_t", "--core", core.path()}),
            look({"read", "scx_enable_state_var", "atomic_t", "--ram", live}));
  EXPECT_EQ(look({"support", "--core", core.path()}), look({"support", "--ram", live}));
  EXPECT_EQ(guest.run("echo still here"), "still here\n");
  return core;
}

void expectCoreToListTheTasks(kj::AsyncIoContext& io, rpc::Observer::Client observer) {
  const auto namesOf = [](const std::vector<json>& tasks) {
    std::set<std::string> names;
    for (const auto& task : tasks) names.insert(task.at("pid").dump() + task.at("comm").dump());
    return names;
  };
  const auto live = [&] { return namesOf(parseLines(readAll(outputAt(io, observer, "tasks").get()))); };
  const auto before = live();
  const GuestCore core{outputAt(io, observer, "core"), {}};
  const auto after = live(), inCore = namesOf(look({"tasks", "--core", core.path()}));
  EXPECT_GE(inCore.size(), 20u);
  for (const auto& task : before) EXPECT_TRUE(inCore.contains(task) || !after.contains(task)) << task;
}

std::optional<std::string> whyNoDrgn() {
  int status = 0;
  outputOf({python, "-c", "import drgn"}, status);
  return status == 0 ? std::nullopt : std::optional<std::string>("python3-drgn is not installed (make deps)");
}

void expectDrgnToListTheSameTasks(const GuestCore& core, const std::string& kernel) {
  std::string vmlinux = ktstr({"kernel", "path", kernel, "vmlinux"}).out;
  vmlinux.resize(vmlinux.find('\n'));
  int status = 0;
  const auto drgn = parseLines(outputOf(
      {python, "tests/tools/drgn_tasks.py", core.path(), "--btf", vmlinux, "--init-task", core.initTask},
      status));
  EXPECT_EQ(describeWaitStatus(status), "exit code 0");
  EXPECT_GE(drgn.size(), 20u);
  EXPECT_EQ(drgn,
            only(look({"tasks", "--core", core.path()}), {"pid", "tgid", "parent", "comm", "cpu", "prio",
                                                          "scxWeight", "scxSlice", "scxVtime", "address"}));
}

void expectSupportAsInReadme(GuestShell& guest, const std::string& kernel) {
  const Fd ram = guest.ramFd();
  const Result result =
      ktstr({"support", "--ram", text("/proc/", getpid(), "/fd/", ram.get())}, {.program = "ktstr-monitor"});
  EXPECT_EQ(result.exitCode, 0) << result.err;
  expectSupportAsInReadme(result.out, kernel);
}

void expectSupportAsInReadme(const std::string& lines, const std::string& kernel) {
  const auto records = parseLines(lines);
  const auto column = columnOfReadme(kernel.substr(kernel.find(':') + 1));
  EXPECT_FALSE(column.empty()) << "README has no column for " << kernel;
  EXPECT_EQ(column.size(), records.size()) << "rows of the table";
  for (const auto& record : records) {
    const std::string feature = record.at("feature");
    ASSERT_TRUE(column.contains(feature)) << feature;
    EXPECT_EQ(column.at(feature), record.at("available").get<bool>() ? "yes" : "-")
        << feature << ": " << record.at("place") << record.at("missing");
  }
}

}  // namespace ktstr::testing
