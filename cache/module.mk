libraries += cache
cache.sources := cache/sha256.cc cache/store.cc cache/entry.cc cache/entry_files.cc cache/decompress.cc \
  cache/bzimage.cc cache/kernel_elf.cc cache/kernel.cc cache/debian.cc cache/deb_archive.cc \
  cache/apt.cc cache/fetcher.cc cache/get.cc cache/range.cc
cache.needs := json protocol
cache.packages := libcrypto libarchive zlib liblzma liblz4 libzstd libbpf
cache.tests := cache/sha256_test.cc cache/store_test.cc cache/kernel_image_test.cc cache/debian_test.cc \
  cache/deb_archive_test.cc cache/kernel_test.cc cache/range_test.cc
cache.test_needs := cachetesting
cache.fuzz := cache/bzimage_fuzz.cc cache/kernel_elf_fuzz.cc cache/deb_fuzz.cc

# Made-up images and packages, for tests of this and other folders.
libraries += cachetesting
cachetesting.sources := cache/test_images.cc
cachetesting.needs := cache

# Around the store: the RPC service, the sandbox, the program.
libraries += cacheservice
cacheservice.sources := cache/service.cc cache/confine.cc cache/display.cc
cacheservice.needs := cache sandbox rpc
cacheservice.tests := cache/confine_test.cc cache/service_test.cc cache/get_test.cc cache/main_test.cc
cacheservice.test_needs := cachetesting

programs += ktstr-cache
ktstr-cache.sources := cache/main.cc
ktstr-cache.needs := cacheservice cache json log
ktstr-cache.packages := CLI11
