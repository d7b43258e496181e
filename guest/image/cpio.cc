#include "guest/image/cpio.h"

#include <sys/stat.h>

#include <cassert>
#include <cstdio>

namespace ktstr {

namespace {

void append(std::vector<std::byte>& bytes, std::span<const std::byte> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
  bytes.resize((bytes.size() + 3) / 4 * 4);
}

std::span<const std::byte> asBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

void CpioWriter::directory(std::string_view path, mode_t mode) {
  member(path, S_IFDIR | mode, {});
}

void CpioWriter::file(std::string_view path, mode_t mode, std::span<const std::byte> content) {
  member(path, S_IFREG | mode, content);
}

void CpioWriter::symlink(std::string_view path, std::string_view target) {
  member(path, S_IFLNK | 0777, asBytes(target));
}

void CpioWriter::characterDevice(std::string_view path, mode_t mode, unsigned major, unsigned minor) {
  member(path, S_IFCHR | mode, {}, major, minor);
}

std::vector<std::byte> CpioWriter::finish() {
  write("TRAILER!!!", 0, {}, 0, 0, 0);
  return std::move(bytes_);
}

void CpioWriter::member(std::string_view path, mode_t mode, std::span<const std::byte> content,
                        unsigned major, unsigned minor) {
  assert(path.starts_with('/'));
  write(path.substr(1), mode, content, major, minor, ++inode_);
}

void CpioWriter::write(std::string_view name, mode_t mode, std::span<const std::byte> content, unsigned major,
                       unsigned minor, uint32_t inode) {
  assert(content.size() <= UINT32_MAX);
  char header[111];
  std::snprintf(header, sizeof header, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode,
                mode, 0, 0, 1, 0, static_cast<uint32_t>(content.size()), 0, 0, major, minor,
                static_cast<uint32_t>(name.size() + 1), 0);
  const std::string_view fields(header, 110);
  bytes_.insert(bytes_.end(), asBytes(fields).begin(), asBytes(fields).end());
  bytes_.insert(bytes_.end(), asBytes(name).begin(), asBytes(name).end());
  bytes_.push_back(std::byte{0});
  bytes_.resize((bytes_.size() + 3) / 4 * 4);
  append(bytes_, content);
}

}  // namespace ktstr
