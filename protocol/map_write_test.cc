#include "protocol/map_write.h"

#include <gtest/gtest.h>

#include "protocol/error.h"

namespace ktstr {
namespace {

TEST(MapWrite, IsMapPlaceValue) {
  for (const auto& [word, map, place, value] :
       {std::tuple{".data:slice_ns=5000000", ".data", "slice_ns", "5000000"},
        {"qmap.bss:a[2].b=-1", "qmap.bss", "a[2].b", "-1"},
        {"#12:+16=0xff", "#12", "+16", "0xff"},
        {"m:p=a=b:c", "m", "p", "a=b:c"}}) {
    const MapWrite write = parseMapWrite(word);
    EXPECT_EQ(write.map, map) << word;
    EXPECT_EQ(write.place, place) << word;
    EXPECT_EQ(write.value, value) << word;
  }
}

TEST(MapWrite, NoPartIsMissing) {
  for (const char* word :
       {"", ":", "=", "map", "map:place", "map=1", "map=a:b", ":place=1", "map:=1", "map:place="}) {
    try {
      parseMapWrite(word);
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.name(), "option-invalid") << word;
      EXPECT_EQ(error.code(), ExitCode::usage) << word;
    }
  }
}

}  // namespace
}  // namespace ktstr
