libraries += kbuild
programs += ktstr-kbuild

kbuild.sources := kbuild/builder.cc kbuild/command.cc kbuild/confine.cc kbuild/extract.cc kbuild/inputs.cc \
  kbuild/own_sources.cc kbuild/pack.cc kbuild/progress.cc kbuild/recipe.cc kbuild/tools.cc
kbuild.tests := kbuild/builder_test.cc kbuild/command_test.cc kbuild/confine_test.cc kbuild/extract_test.cc \
  kbuild/inputs_test.cc kbuild/own_sources_test.cc kbuild/pack_test.cc kbuild/recipe_test.cc kbuild/tools_test.cc
kbuild.fuzz := kbuild/extract_fuzz.cc
kbuild.needs := cache log sandbox protocol
kbuild.packages := libarchive

ktstr-kbuild.sources := kbuild/main.cc
ktstr-kbuild.needs := kbuild cache json log sandbox protocol
ktstr-kbuild.packages := CLI11
