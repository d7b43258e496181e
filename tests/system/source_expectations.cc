#include "tests/system/source_expectations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>

#include "protocol/text.h"

namespace ktstr::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using Words = std::vector<std::string>;

struct Command {
  Words words;
  bool moves = false;  // a guest that runs says something else each time
};

const Command commands[] = {
    {{"samples", "--count", "1"}, true},
    {{"maps"}},
    {{"map", ".data"}},
    {{"progs"}, true},
    {{"tasks"}, true},
    {{"events"}, true},
    {{"dsqs"}, true},
    {{"dump", "here"}, true},
    {{"symbol", "scx_root"}},
    {{"type", "task_struct"}},
    {{"read", "*scx_root", "scx_sched", "ops.name"}},
    {{"support"}},
};

Result look(Words words, const Words& source) {
  words.insert(words.end(), source.begin(), source.end());
  return ktstr(words, {.program = "ktstr-monitor"});
}

// Which members the records have, all of a command's together.
std::set<std::string> membersOf(const std::string& lines) {
  std::set<std::string> members;
  for (const auto& record : parseLines(lines)) {
    for (const auto& [name, value] : record.items()) members.insert(name);
  }
  return members;
}

void expectAlike(const Command& command, const std::vector<Words>& sources) {
  std::string first;
  for (const auto& source : sources) {
    const Result said = look(command.words, source);
    const std::string where = command.words.front() + " " + source.front();
    EXPECT_EQ(said.exitCode, 0) << where << ": " << said.err;
    EXPECT_GT(said.out.size(), 0u) << where;
    if (first.empty()) first = said.out;
    if (!command.moves) {
      EXPECT_EQ(said.out, first) << where;
    } else if (command.words.front() == "dump") {
      EXPECT_EQ(json::parse(said.out).at("scheduler").at("opsName"), "simple") << where;
    } else {
      EXPECT_EQ(membersOf(said.out), membersOf(first)) << where;
    }
  }
}

}  // namespace

void expectEveryCommandAtEverySource(Watched& watched, const GuestCore& core) {
  const Fd ram = watched.guest.ramFd();
  const Words atVm = {"--vm", watched.directory.path() + "/observe.sock"};
  const Words atRam = {"--ram", text("/proc/", getpid(), "/fd/", ram.get())};
  const Words atCore = {"--core", core.path()};
  for (const auto& command : commands) expectAlike(command, {atVm, atRam, atCore});

  for (const auto& source : {atVm, atRam}) {
    const Result seen = look({"watch", "jiffies_64", "--count", "1", "--period-ms", "5"}, source);
    EXPECT_EQ(seen.exitCode, 0) << seen.err;
    EXPECT_THAT(seen.out, HasSubstr(R"("watchHit":{"expression":"jiffies_64")")) << source.front();
  }
  const Result once = look({"samples"}, atCore);
  EXPECT_EQ(once.exitCode, 0) << once.err;
  EXPECT_THAT(once.out, HasSubstr(R"("ended":{"kind":"sampleLimit","samples":1)"));
  for (const Words& live : {Words{"watch", "scx_root"}, Words{"tasks", "--freeze"},
                            Words{"write", ".data", "uei.kind", "1", "--gate", "/nowhere"}}) {
    const Result refused = look(live, atCore);
    EXPECT_EQ(refused.exitCode, 2) << live.front();
    EXPECT_THAT(refused.err, HasSubstr("core-stands-still")) << live.front();
  }
}

}  // namespace ktstr::testing
