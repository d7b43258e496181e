#include "guest/image/initramfs.h"

#include "guest/image/cpio.h"
#include "guest/image/image_plan.h"
#include "guest/image/lz4_legacy.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {

namespace {
constexpr uint64_t paddedTo = 64 * 1024;  // QEMU rounds RAM to 8 KiB, hosts have pages of up to 64 KiB
constexpr size_t longestRunId = 512;
}  // namespace

std::string imageKey(const ImageRequest& request) {
  return planImage(request).contentKey();
}

ImageBase buildImageBase(const ImageRequest& request) {
  return buildImageBase(planImage(request));
}

ImageBase buildImageBase(const ImagePlan& plan) {
  const std::vector<std::byte> compressed = compressLz4Legacy(plan.archive());
  ImageBase base{makeMemfd("ktstr-base", (compressed.size() + paddedTo - 1) / paddedTo * paddedTo),
                 compressed.size()};
  writeAll(base.file.get(), compressed);
  return base;
}

std::vector<std::byte> makeSuffix(std::string_view runId) {
  if (runId.size() > longestRunId) {
    throw Error(ExitCode::usage, "image-path-invalid",
                text("run id of ", runId.size(), " bytes (limit ", longestRunId, ")"), "use a shorter one");
  }
  CpioWriter cpio;
  cpio.directory("/ktstr", 0755);  // comes before the base, which has it as well
  cpio.file("/ktstr/run", 0444, std::as_bytes(std::span(runId)));
  return cpio.finish();
}

}  // namespace ktstr
