#include "cache/service.h"

#include <fcntl.h>

#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/text.h"
#include "protocol/transport.h"

namespace ktstr::cache {
namespace {

constexpr const char* kind = "analysis";

std::string checkedBuildId(capnp::Text::Reader text) {
  std::string id(text.cStr(), text.size());
  const bool hexadecimal = id.find_first_not_of("0123456789abcdef") == id.npos;
  if (hexadecimal && id.size() >= 8 && id.size() <= 128) return id;
  throw Error(ExitCode::usage, "build-id-invalid", "a build id is 8 to 128 lower-case hex digits", "");
}

class AnalysisStoreServer final : public rpc::AnalysisStore::Server {
 public:
  explicit AnalysisStoreServer(Store store) : store_(std::move(store)) {}

  kj::Promise<void> lookup(LookupContext context) override {
    const std::string id = checkedBuildId(context.getParams().getBuildId());
    const auto entry = store_.find(kind, id, [](const Error& error) { log::warn(error.what()); });
    context.getResults().setFound(entry.has_value());
    if (entry) context.getResults().setAnalysis(giveFd(entry->open("analysis")).castAs<rpc::Fd>());
    return kj::READY_NOW;
  }

  kj::Promise<void> store(StoreContext context) override {
    const std::string id = checkedBuildId(context.getParams().getBuildId());
    return takeFd(context.getParams().getAnalysis()).then([this, id](Fd fd) {
      const std::string analysis = readSealed(fd.get());
      store_.findOrMake(kind, id, [&](Draft& draft) { draft.write("analysis", analysis); });
    });
  }

 private:
  Store store_;
};

}  // namespace

rpc::AnalysisStore::Client makeAnalysisStore(Store store) {
  return kj::heap<AnalysisStoreServer>(std::move(store));
}

std::string readSealed(int fd) {
  constexpr int needed = F_SEAL_WRITE | F_SEAL_SHRINK;
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & needed) != needed) {
    throw Error(ExitCode::usage, "analysis-not-sealed",
                text("the descriptor has seals ", seals < 0 ? "none" : hex(static_cast<unsigned>(seals)),
                     ", needs ", hex(needed)),
                "give a memfd sealed against writing and shrinking");
  }
  const uint64_t size = fileSize(fd);
  if (size == 0 || size > maxAnalysis) {
    throw Error(ExitCode::usage, "analysis-too-large",
                text(size, " bytes; 1 to ", maxAnalysis, " are possible"), "");
  }
  return readAll(fd, maxAnalysis);
}

}  // namespace ktstr::cache
