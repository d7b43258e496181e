#include "cache/sha256.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <vector>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::cache {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    throw Error(ExitCode::infrastructure, "digest-failed", "OpenSSL does not offer SHA-256");
  }
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
}

std::string Sha256::finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(state_->context, digest, &length);
  static constexpr char digits[] = "0123456789abcdef";
  std::string result;
  for (unsigned i = 0; i < length; ++i) {
    result += digits[digest[i] >> 4];
    result += digits[digest[i] & 15];
  }
  return result;
}

std::string sha256Hex(std::span<const std::byte> bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.finish();
}

std::string sha256Hex(std::string_view bytes) {
  return sha256Hex(std::as_bytes(std::span(bytes)));
}

std::string sha256OfFile(int fd) {
  Sha256 sum;
  std::vector<std::byte> buffer(size_t{1} << 18);
  off_t offset = 0;
  for (;;) {
    const ssize_t got = pread(fd, buffer.data(), buffer.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw errnoError("read-failed", text("read descriptor ", fd, " at ", offset));
    if (got == 0) return sum.finish();
    sum.update(std::span(buffer).first(static_cast<size_t>(got)));
    offset += got;
  }
}

}  // namespace ktstr::cache
