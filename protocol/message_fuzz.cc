// Messages of any bytes, as the guest or a monitor could send them: everything in them is read, within
// limits.
#include <capnp/serialize.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/report.capnp.h"
#include "protocol/sample.capnp.h"

namespace {

template <typename T>
void readAll(kj::ArrayPtr<const capnp::word> words) {
  try {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 1 << 14;
    options.nestingLimit = 16;
    capnp::FlatArrayMessageReader message(words, options);
    ktstr::toJson(message.getRoot<T>());
  } catch (const ktstr::Error&) {
  } catch (const kj::Exception&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  std::vector<capnp::word> words(length / sizeof(capnp::word));
  if (!words.empty()) memcpy(words.data(), data, words.size() * sizeof(capnp::word));
  readAll<ktstr::rpc::GuestEvent>({words.data(), words.size()});
  readAll<ktstr::rpc::MonitorRecord>({words.data(), words.size()});
  return 0;
}
