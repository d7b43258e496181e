#include "kbuild/builder.h"

#include <fcntl.h>

#include <filesystem>

#include "kbuild/extract.h"
#include "kbuild/recipe.h"
#include "protocol/error.h"
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

void extract(const BuildRequest& request, const std::string& directory, const Interrupts& interrupts,
             Progress& progress) {
  const Fd archive = openFile(request.archive, O_RDONLY);
  extractTree(
      archive.get(),
      {.directory = directory, .wanted = wantedSources(), .unwanted = unwantedSources(), .onProgress = [&] {
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

}  // namespace

std::vector<std::string> buildSchedulers(const BuildRequest& request, const Tools& tools,
                                         const Interrupts& interrupts, Progress& progress) {
  const ScratchGuard guard(request.scratch);
  const Layout layout{.source = request.scratch + "/source",
                      .build = request.scratch + "/build",
                      .home = request.scratch + "/home",
                      .btf = request.btf};
  for (const auto& each : {layout.source, layout.build, layout.home}) fs::create_directory(each);

  progress.phase("extracting sources");
  extract(request, layout.source, interrupts, progress);
  auto names = schedulersIn(layout.source);

  const std::string log = request.output + "/build.log";
  CommandRunner runner(tools.setsid, log, interrupts, [&] { progress.tick(); });
  try {
    progress.phase(text("compiling ", names.size(), " schedulers"));
    runner.run(makeCommand(tools, layout, request.jobs));
    progress.phase("linking");
    for (const auto& name : names) {
      runner.run(linkCommand(tools, layout, name, request.output + "/" + name));
    }
  } catch (const Error& error) {
    if (error.name() == "build-failed") keepLog(error, log, request.failureLog);
    throw;
  }
  progress.done();
  return names;
}

}  // namespace ktstr::kbuild
