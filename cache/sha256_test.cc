#include "cache/sha256.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "cache/test_images.h"
#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::cache {
namespace {

// FIPS 180-4 examples.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, FileAndPiecesGiveTheSame) {
  const test::TemporaryDirectory directory;
  std::string content(1'000'000, 'a');
  content[500'000] = 'b';
  test::writeFile(directory / "file", content);
  Sha256 pieces;
  pieces.update(test::bytesOf(content).first(123));
  pieces.update(test::bytesOf(content).subspan(123));
  const std::string digest = sha256Hex(content);
  EXPECT_EQ(pieces.finish(), digest);
  EXPECT_EQ(sha256OfFile(openFile(directory / "file", O_RDONLY).get()), digest);
}

}  // namespace
}  // namespace ktstr::cache
