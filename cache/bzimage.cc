// bzImage part of kernel_image.h. Offsets: Documentation/arch/x86/boot.rst, "Details of Header Fields".
#include <algorithm>
#include <cstring>

#include "cache/decompress.h"
#include "cache/kernel_image.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr size_t headerStart = 0x1f1;
constexpr size_t jumpLength = 0x201;  // the header ends this many bytes after 0x202
constexpr size_t minimalHeaderEnd = 0x264;
constexpr uint32_t magicHdrS = 0x53726448;

template <typename T>
T at(Bytes image, size_t offset) {
  T value;
  memcpy(&value, image.data() + offset, sizeof value);
  return value;
}

Error invalid(const std::string& what) {
  return Error(ExitCode::usage, "kernel-image-invalid", what,
               "give a vmlinuz (bzImage) or vmlinux for x86-64");
}

Error truncated(const std::string& what) {
  return Error(ExitCode::usage, "kernel-image-truncated", what, "the file is cut short: get it again");
}

std::string versionAt(Bytes image, uint16_t pointer, size_t end) {
  if (pointer == 0) return {};
  std::string version;
  for (size_t i = size_t{0x200} + pointer; i < std::min(end, image.size()) && version.size() < 256; ++i) {
    const char c = static_cast<char>(image[i]);
    if (c < ' ' || c > '~') break;
    version += c;
  }
  return version;
}

Bytes payloadOf(Bytes image) {
  const SetupHeader header = parseSetupHeader(image);
  return image.subspan(header.protectedModeOffset + header.payloadOffset, header.payloadLength);
}

}  // namespace

bool isBzImage(Bytes image) {
  return image.size() >= minimalHeaderEnd && at<uint16_t>(image, 0x1fe) == 0xaa55 &&
         at<uint32_t>(image, 0x202) == magicHdrS;
}

SetupHeader parseSetupHeader(Bytes image) {
  if (image.size() < minimalHeaderEnd) {
    throw truncated(
        text("set-up header ends at ", hex(minimalHeaderEnd), ", the image at ", hex(image.size())));
  }
  if (!isBzImage(image)) throw invalid("no set-up header: \"HdrS\" is not at 0x202");
  SetupHeader header{};
  header.version = at<uint16_t>(image, 0x206);
  if (header.version < 0x0208) {
    throw invalid(text("boot protocol ", hex(header.version), " at 0x206; at least 0x208 is needed"));
  }
  header.setupSectors = at<uint8_t>(image, headerStart);
  if (header.setupSectors == 0) header.setupSectors = 4;
  header.loadflags = at<uint8_t>(image, 0x211);
  header.initrdAddressMax = at<uint32_t>(image, 0x22c);
  header.kernelAlignment = at<uint32_t>(image, 0x230);
  header.relocatable = at<uint8_t>(image, 0x234) != 0;
  header.xloadflags = at<uint16_t>(image, 0x236);
  header.commandLineSize = at<uint32_t>(image, 0x238);
  header.payloadOffset = at<uint32_t>(image, 0x248);
  header.payloadLength = at<uint32_t>(image, 0x24c);
  header.preferredAddress = at<uint64_t>(image, 0x258);
  header.initSize = at<uint32_t>(image, 0x260);

  header.protectedModeOffset = (size_t{header.setupSectors} + 1) * 512;
  const size_t headerEnd = size_t{0x202} + at<uint8_t>(image, jumpLength);
  if (headerEnd < minimalHeaderEnd ||
      headerEnd > std::min<size_t>(header.protectedModeOffset, image.size())) {
    throw invalid(text("set-up header ends at ", hex(headerEnd), " by the byte at 0x201"));
  }
  header.raw = image.subspan(headerStart, headerEnd - headerStart);
  const uint64_t payloadEnd =
      header.protectedModeOffset + uint64_t{header.payloadOffset} + header.payloadLength;
  if (payloadEnd > image.size()) {
    throw truncated(text("payload at ", hex(header.protectedModeOffset + uint64_t{header.payloadOffset}),
                         " has ", header.payloadLength, " bytes, the image ends at ", hex(image.size())));
  }
  header.kernelVersion = versionAt(image, at<uint16_t>(image, 0x20e), header.protectedModeOffset);
  return header;
}

std::string payloadCompression(Bytes bzImage) {
  const Bytes payload = payloadOf(bzImage);
  const Compression compression = compressionOf(payload);
  if (compression == Compression::none) {
    std::string magic;
    for (const std::byte b : payload.first(std::min<size_t>(payload.size(), 6))) {
      magic += " " + hex(static_cast<unsigned char>(b));
    }
    throw invalid("payload begins with" + (magic.empty() ? " nothing" : magic) +
                  ": not gzip, xz, lz4 or zstd");
  }
  return std::string(nameOf(compression));
}

std::vector<std::byte> extractVmlinux(Bytes bzImage) {
  payloadCompression(bzImage);  // throws if there is none
  const Bytes payload = payloadOf(bzImage);
  std::vector<std::byte> vmlinux = decompress(compressionOf(payload), payload, maxPayload);
  if (!isElf(vmlinux)) {
    throw Error(ExitCode::usage, "kernel-payload-corrupt",
                text("payload decompresses to ", vmlinux.size(), " bytes that are no ELF file"),
                "the file is damaged: get it again");
  }
  return vmlinux;
}

}  // namespace ktstr::cache
