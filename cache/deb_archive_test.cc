#include "cache/deb_archive.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/test_images.h"
#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::cache {
namespace {

class DebTest : public testing::Test {
 protected:
  size_t read(const std::string& content, size_t wanted = 10) {
    test::writeFile(directory / "x.deb", content);
    found.clear();
    return readDeb(openFile(directory / "x.deb", O_RDONLY).get(), "x.deb", wanted,
                   [&](std::string_view path) -> Sink {
                     if (!path.starts_with("boot/")) return {};
                     std::string& file = found[std::string(path)];
                     return [&file](std::span<const std::byte> piece) {
                       file.append(reinterpret_cast<const char*>(piece.data()), piece.size());
                     };
                   });
  }

  const std::string big = std::string(300'000, 'v') + "end";
  const std::string deb =
      test::makeDeb({{"./boot/vmlinuz-1", big}, {"./boot/config-1", "CONFIG"}, {"./usr/x", "y"}});
  std::map<std::string, std::string> found;
  test::TemporaryDirectory directory;
};

TEST_F(DebTest, WantedFilesAreRead) {
  EXPECT_EQ(read(deb), 2U);
  EXPECT_EQ(found["boot/vmlinuz-1"], big);
  EXPECT_EQ(found["boot/config-1"], "CONFIG");
  EXPECT_EQ(found.size(), 2U);
  EXPECT_EQ(read(deb, 1), 1U);
}

TEST_F(DebTest, CutShortIsNamed) {
  for (const size_t size : {size_t{0}, size_t{4}, size_t{100}, deb.size() / 2, deb.size() - 300}) {
    EXPECT_EQ(test::errorName([&] { read(deb.substr(0, size)); }), "package-corrupt")
        << size << " of " << deb.size();
  }
}

TEST_F(DebTest, DamagedOrForeignIsNamed) {
  std::string damaged = deb;
  for (size_t i = deb.size() / 2; i < deb.size() / 2 + 30; ++i)
    damaged[i] = static_cast<char>(damaged[i] ^ 0x5a);
  EXPECT_EQ(test::errorName([&] { read(damaged); }), "package-corrupt");
  EXPECT_EQ(test::errorName([&] { read(std::string(5000, 'z')); }), "package-corrupt");
  EXPECT_EQ(test::errorName([&] { read("!<arch>\n"); }), "package-corrupt");
}

}  // namespace
}  // namespace ktstr::cache
