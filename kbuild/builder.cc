#include "kbuild/builder.h"

#include <fcntl.h>

#include <filesystem>
#include <functional>

#include "kbuild/extract.h"
#include "kbuild/pack.h"
#include "kbuild/recipe.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;

class ScratchGuard {
 public:
  explicit ScratchGuard(std::string directory) : directory_(std::move(directory)) {}
  ~ScratchGuard() {
    std::error_code ignored;
    for (const auto& each : fs::directory_iterator(directory_, ignored)) fs::remove_all(each.path(), ignored);
  }
  ScratchGuard(const ScratchGuard&) = delete;
  ScratchGuard& operator=(const ScratchGuard&) = delete;

 private:
  std::string directory_;
};

void extract(const BuildRequest& request, const std::string& directory,
             const std::vector<std::string>& wanted, const std::vector<std::string>& unwanted,
             const Interrupts& interrupts, Progress& progress) {
  const Fd archive = openFile(request.archive, O_RDONLY);
  extractTree(archive.get(),
              {.directory = directory, .wanted = wanted, .unwanted = unwanted, .onProgress = [&] {
                 interrupts.check();
                 progress.tick();
               }});
}

[[noreturn]] void keepLog(const Error& error, const std::string& log, const std::string& place) {
  std::error_code failed;
  fs::create_directories(fs::path(place).parent_path(), failed);
  fs::copy_file(log, place, fs::copy_options::overwrite_existing, failed);
  throw Error(error.code(), error.name(), error.message(),
              failed ? text("the whole log could not be kept at ", place, ": ", failed.message())
                     : "the whole log: " + place);
}

// Statically, so that they run anywhere; where the system's libelf.a is not whole (Debian 13's calls
// functions that no package has), as the kernel's tree links them: the image packs their libraries.
void linkAll(const std::vector<std::string>& names, const BuildRequest& request, const Tools& tools,
             const Layout& layout, CommandRunner& runner) {
  bool statically = true;
  for (const auto& name : names) {
    const std::string output = request.output + "/" + name, linked = layout.build + "/build/bin/" + name;
    if (statically) {
      try {
        runner.run(linkCommand(tools, layout, name, output));
      } catch (const Error& error) {
        if (error.name() != "build-failed" || name != names.front() || !fs::exists(linked)) throw;
        log::warn("schedulers cannot be linked statically here: they keep their shared libraries");
        statically = false;
      }
    }
    if (!statically) fs::copy_file(linked, output);
  }
}

Layout layOut(const BuildRequest& request) {
  Layout layout{.source = request.scratch + "/source",
                .build = request.scratch + "/build",
                .home = request.scratch + "/home",
                .btf = request.btf};
  for (const auto& each : {layout.source, layout.build, layout.home}) fs::create_directories(each);
  return layout;
}

// The commands' output is in build.log; if one fails, that is kept.
void runAll(const BuildRequest& request, const Tools& tools, const Interrupts& interrupts, Progress& progress,
            const std::function<void(CommandRunner& runner)>& commands) {
  const std::string log = request.output + "/build.log";
  CommandRunner runner(tools.setsid, log, interrupts, [&] { progress.tick(); });
  try {
    commands(runner);
  } catch (const Error& error) {
    if (error.name() == "build-failed") keepLog(error, log, request.failureLog);
    throw;
  }
  progress.done();
}

}  // namespace

void buildKit(const BuildRequest& request, const Tools& tools, const Interrupts& interrupts,
              Progress& progress) {
  const ScratchGuard guard(request.scratch);
  const Layout layout = layOut(request);
  progress.phase("extracting sources");
  extract(request, layout.source, wantedSources(), unwantedSources(), interrupts, progress);
  (void)schedulersIn(layout.source);
  runAll(request, tools, interrupts, progress, [&](CommandRunner& runner) {
    progress.phase("compiling libbpf and bpftool");
    runner.run(kitCommand(tools, layout, request.jobs));
  });
  packTree(request.scratch, kitParts(), request.output + "/" + kitFile);
}

std::vector<std::string> buildSchedulers(const BuildRequest& request, const Tools& tools,
                                         const Interrupts& interrupts, Progress& progress) {
  const ScratchGuard guard(request.scratch);
  extract(request, request.scratch, {"source/", "build/"}, {}, interrupts, progress);
  const Layout layout = layOut(request);
  auto names = schedulersIn(layout.source);
  if (const OwnSources& own = request.own; !own.schedulers.empty()) {
    layOwnSources(own, schedulerDirectory(layout.source));
    names = own.schedulers;
  }
  runAll(request, tools, interrupts, progress, [&](CommandRunner& runner) {
    progress.phase(text("compiling ", names.size(), names.size() == 1 ? " scheduler" : " schedulers"));
    runner.run(makeCommand(tools, layout, request.jobs, request.own.schedulers));
    progress.phase("linking");
    linkAll(names, request, tools, layout, runner);
  });
  return names;
}

}  // namespace ktstr::kbuild
