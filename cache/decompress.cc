#include "cache/decompress.h"

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

using Bytes = std::span<const std::byte>;

constexpr size_t lz4BlockSize = size_t{8} << 20;  // of the legacy frame format, before compression

[[noreturn]] void corrupt(Compression compression, size_t position, const std::string& why) {
  throw Error(ExitCode::usage, "kernel-payload-corrupt",
              text(nameOf(compression), " stream at byte ", position, ": ", why),
              "the file is damaged: get it again");
}

// The output, which grows as it is filled, up to the limit.
class Output {
 public:
  Output(Compression compression, size_t limit) : compression_(compression), limit_(limit) {}

  // Room for at least one byte, and `wanted` if the limit allows.
  std::span<std::byte> room(size_t wanted, size_t position) {
    if (used_ == limit_) corrupt(compression_, position, text("output is larger than ", limit_, " bytes"));
    const size_t size = std::min(limit_, used_ + wanted);
    if (bytes_.size() < size) bytes_.resize(std::min(limit_, std::max(size, bytes_.size() * 2)));
    return std::span(bytes_).subspan(used_);
  }
  void filled(size_t count) { used_ += count; }
  std::vector<std::byte> take() {
    bytes_.resize(used_);
    return std::move(bytes_);
  }

 private:
  Compression compression_;
  size_t limit_;
  size_t used_ = 0;
  std::vector<std::byte> bytes_;
};

constexpr size_t step = size_t{1} << 20;

std::vector<std::byte> gunzip(Bytes bytes, size_t limit) {
  z_stream stream{};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  Output output(Compression::gzip, limit);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(std::min<size_t>(bytes.size(), UINT32_MAX));
  for (;;) {
    const size_t position = bytes.size() - stream.avail_in;
    const auto room = output.room(step, position);
    stream.next_out = reinterpret_cast<Bytef*>(room.data());
    stream.avail_out = static_cast<uInt>(std::min<size_t>(room.size(), UINT32_MAX));
    const uInt before = stream.avail_out;
    const int result = inflate(&stream, Z_NO_FLUSH);
    output.filled(before - stream.avail_out);
    if (result == Z_STREAM_END) return output.take();
    if (result == Z_OK && (stream.avail_in > 0 || stream.avail_out == 0)) continue;
    const bool ended = stream.avail_in == 0 && result != Z_DATA_ERROR;
    corrupt(Compression::gzip, bytes.size() - stream.avail_in,
            ended ? "it ends early" : text(stream.msg == nullptr ? "not valid" : stream.msg));
  }
}

std::vector<std::byte> unxz(Bytes bytes, size_t limit) {
  constexpr uint64_t memory = uint64_t{256} << 20;
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, memory, 0) != LZMA_OK) throw std::bad_alloc();
  const std::unique_ptr<lzma_stream, void (*)(lzma_stream*)> end(&stream, lzma_end);
  Output output(Compression::xz, limit);
  stream.next_in = reinterpret_cast<const uint8_t*>(bytes.data());
  stream.avail_in = bytes.size();
  for (;;) {
    const auto room = output.room(step, bytes.size() - stream.avail_in);
    stream.next_out = reinterpret_cast<uint8_t*>(room.data());
    stream.avail_out = room.size();
    const lzma_ret result = lzma_code(&stream, LZMA_RUN);
    output.filled(room.size() - stream.avail_out);
    if (result == LZMA_STREAM_END) return output.take();
    if (result == LZMA_OK) continue;
    const bool ended = result == LZMA_BUF_ERROR;
    corrupt(Compression::xz, bytes.size() - stream.avail_in,
            ended ? "it ends early" : text("not valid (liblzma error ", static_cast<int>(result), ")"));
  }
}

// Magic, then blocks of u32 size and data, until the bytes end; 4 left-over bytes are an appended output
// size.
std::vector<std::byte> unlz4(Bytes bytes, size_t limit) {
  Output output(Compression::lz4, limit);
  size_t position = 4;
  while (bytes.size() - position > 4) {
    uint32_t size = 0;
    memcpy(&size, bytes.data() + position, sizeof size);
    position += sizeof size;
    if (size == 0 || size > bytes.size() - position) {
      corrupt(Compression::lz4, position,
              text("a block of ", size, " bytes with ", bytes.size() - position, " left"));
    }
    const auto room = output.room(lz4BlockSize, position);
    const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(bytes.data() + position),
                                        reinterpret_cast<char*>(room.data()), static_cast<int>(size),
                                        static_cast<int>(std::min(room.size(), lz4BlockSize)));
    if (got < 0) corrupt(Compression::lz4, position, text("a block of ", size, " bytes is not valid"));
    output.filled(static_cast<size_t>(got));
    position += size;
  }
  return output.take();
}

std::vector<std::byte> unzstd(Bytes bytes, size_t limit) {
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(),
                                                                        ZSTD_freeDStream);
  if (!stream) throw std::bad_alloc();
  // Kernels are made with windows of up to 128 MiB (zstd -22 --ultra).
  ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, 27);
  Output output(Compression::zstd, limit);
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    const auto room = output.room(step, in.pos);
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    const size_t result = ZSTD_decompressStream(stream.get(), &out, &in);
    output.filled(out.pos);
    if (ZSTD_isError(result)) corrupt(Compression::zstd, in.pos, ZSTD_getErrorName(result));
    if (result == 0) return output.take();
    if (in.pos == in.size && out.pos < out.size) corrupt(Compression::zstd, in.pos, "it ends early");
  }
}

}  // namespace

Compression compressionOf(Bytes bytes) {
  const auto begins = [&](std::initializer_list<unsigned char> magic) {
    return bytes.size() >= magic.size() && memcmp(bytes.data(), magic.begin(), magic.size()) == 0;
  };
  if (begins({0x1f, 0x8b})) return Compression::gzip;
  if (begins({0xfd, '7', 'z', 'X', 'Z', 0})) return Compression::xz;
  if (begins({0x02, 0x21, 0x4c, 0x18})) return Compression::lz4;
  if (begins({0x28, 0xb5, 0x2f, 0xfd})) return Compression::zstd;
  return Compression::none;
}

std::string_view nameOf(Compression compression) {
  switch (compression) {
    case Compression::gzip:
      return "gzip";
    case Compression::xz:
      return "xz";
    case Compression::lz4:
      return "lz4";
    case Compression::zstd:
      return "zstd";
    case Compression::none:
      break;
  }
  return "none";
}

std::vector<std::byte> decompress(Compression compression, Bytes bytes, size_t limit) {
  switch (compression) {
    case Compression::gzip:
      return gunzip(bytes, limit);
    case Compression::xz:
      return unxz(bytes, limit);
    case Compression::lz4:
      return unlz4(bytes, limit);
    case Compression::zstd:
      return unzstd(bytes, limit);
    case Compression::none:
      break;
  }
  corrupt(compression, 0, "not gzip, xz, lz4 or zstd");
}

}  // namespace ktstr::cache
