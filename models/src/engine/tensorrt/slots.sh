#!/usr/bin/env bash
# slots.sh FOLDER...: the tables of abi.rs, out of the C++ headers of TensorRT releases (NvInfer.h, NvOnnxParser.h).
#
# The inline methods of the public headers are called on objects whose virtual functions only note their own number,
# so what is printed is what a program compiled with those headers would call. Needs g++ 10 or newer, nothing of CUDA.
# Where the headers come from: github NVIDIA/TensorRT, folder include, one branch a release; NvOnnxParser.h of 8.x from
# github onnx/onnx-tensorrt; those of TensorRT for RTX from its archive (the crate trtx-sys carries copies).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# All that the headers want of CUDA.
cat >"$work/cuda_runtime_api.h" <<'CPP'
#pragma once
typedef struct CUevent_st* cudaEvent_t;
typedef struct CUstream_st* cudaStream_t;
CPP
cat >"$work/probe.cpp" <<'CPP'
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <utility>
using namespace nvinfer1;

static int called;

template <int N> static void* note() { called = N; return nullptr; }

constexpr int kSlots = 250;
constexpr int kOuter = 1000;
template <int Base, int... N> static void* const* table(std::integer_sequence<int, N...>)
{
    static void* const entries[] = {reinterpret_cast<void*>(&note<Base + N>)...};
    return entries;
}
static void* const* const inner = table<0>(std::make_integer_sequence<int, kSlots>());
static void* const* const outer = table<kOuter>(std::make_integer_sequence<int, kSlots>());
// As TensorRT's objects: a table of virtual functions, then a pointer to the implementation, which has its own table.
struct Implementation { void* const* virtuals = inner; void* rest[16] = {}; };
struct Object { void* const* virtuals = outer; Implementation* implementation; void* rest[16] = {}; };

// Where a function is: in the object's own table or in that of its implementation.
enum Where { kOwn, kImplementation };
// Whether our tables have it as an Option.
enum Need { kAlways, kMaybe };

template <typename T, typename F> static void print(Where where, Need need, char const* name, F call)
{
    Implementation implementation;
    Object object{outer, &implementation, {}};
    called = -1;
    bool const there = call(*reinterpret_cast<T*>(&object));
    bool const own = called >= kOuter;
    int const slot = called % kOuter;
    if (!there) std::printf("    %s: None,\n", name);
    else if (called < 0 || own != (where == kOwn)) std::printf("    %s: UNEXPECTED(%d),\n", name, called);
    else if (need == kMaybe) std::printf("    %s: Some(%d),\n", name, slot);
    else std::printf("    %s: %d,\n", name, slot);
}
#define CALL(where, need, name, type, expression)                                                                      \
    print<type>(where, need, name, [](auto& o) {                                                                       \
        if constexpr (requires { expression; }) { static_cast<void>(expression); return true; } else { return false; } \
    });
#define METHOD(name, type, expression) CALL(kImplementation, kAlways, name, type, expression)
#define MAYBE(name, type, expression) CALL(kImplementation, kMaybe, name, type, expression)
#define OWN(name, type, expression) CALL(kOwn, kAlways, name, type, expression)
#define OWN_MAYBE(name, type, expression) CALL(kOwn, kMaybe, name, type, expression)
#define DELETE(name, type) print<type>(kOwn, kAlways, name, [](auto& o) { delete &o; return true; });
#define CONSTANT(name, format, type, constant)                                                                         \
    [](auto tag) {                                                                                                     \
        using E = decltype(tag);                                                                                       \
        if constexpr (requires { E::constant; }) std::printf("    %s: " format ",\n", name, static_cast<int>(E::constant)); \
        else std::printf("    %s: None,\n", name);                                                                     \
    }(type{});

template <typename T> static T& any() { static Object o{outer, nullptr, {}}; return *reinterpret_cast<T*>(&o); }

int main()
{
    std::printf("// %d.%d.%d, parser %d.%d.%d\n", NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH,
        NV_ONNX_PARSER_MAJOR, NV_ONNX_PARSER_MINOR, NV_ONNX_PARSER_PATCH);
    std::printf("    wide_dims: %s,\n",
        sizeof(Dims) == 72 && offsetof(Dims, d) == 8 ? "true" : sizeof(Dims) == 36 && offsetof(Dims, d) == 4 ? "false" : "UNEXPECTED");
    [](auto& o) {
        std::printf("    versioned_logger: %s,\n", requires { o.getInterfaceInfo(); } ? "true" : "false");
    }(any<ILogger>());
    METHOD("builder_create_config", IBuilder, o.createBuilderConfig())
    METHOD("builder_create_network", IBuilder, o.createNetworkV2(0))
    METHOD("builder_create_profile", IBuilder, o.createOptimizationProfile())
    METHOD("builder_build", IBuilder, o.buildSerializedNetwork(any<INetworkDefinition>(), any<IBuilderConfig>()))
    METHOD("config_set_flag", IBuilderConfig, o.setFlag(BuilderFlag{}))
    METHOD("config_clear_flag", IBuilderConfig, o.clearFlag(BuilderFlag{}))
    METHOD("config_add_profile", IBuilderConfig, o.addOptimizationProfile(&any<IOptimizationProfile>()))
    METHOD("config_set_tactic_sources", IBuilderConfig, o.setTacticSources(0))
    MAYBE("config_set_progress_monitor", IBuilderConfig, o.setProgressMonitor(nullptr))
    MAYBE("config_set_capability_count", IBuilderConfig, o.setNbComputeCapabilities(1))
    MAYBE("config_set_capability", IBuilderConfig, o.setComputeCapability({}, 0))
    METHOD("network_input_count", INetworkDefinition, o.getNbInputs())
    METHOD("network_input", INetworkDefinition, o.getInput(0))
    METHOD("tensor_name", ITensor, o.getName())
    METHOD("tensor_set_shape", ITensor, o.setDimensions(Dims{}))
    METHOD("tensor_shape", ITensor, o.getDimensions())
    METHOD("profile_set_shape", IOptimizationProfile, o.setDimensions("", OptProfileSelector{}, Dims{}))
    METHOD("memory_data", IHostMemory, o.data())
    METHOD("memory_size", IHostMemory, o.size())
    METHOD("runtime_load", IRuntime, o.deserializeCudaEngine("", std::size_t{1}))
    MAYBE("runtime_validity", IRuntime, o.getEngineValidity("", 1, nullptr))
    METHOD("engine_create_context", ICudaEngine, o.createExecutionContext())
    MAYBE("engine_create_runtime_config", ICudaEngine, o.createRuntimeConfig())
    MAYBE("engine_create_context_with_config", ICudaEngine, o.createExecutionContext(o.createRuntimeConfig()))
    METHOD("engine_tensor_count", ICudaEngine, o.getNbIOTensors())
    METHOD("engine_tensor_name", ICudaEngine, o.getIOTensorName(0))
    METHOD("engine_tensor_type", ICudaEngine, o.getTensorDataType(""))
    METHOD("engine_tensor_mode", ICudaEngine, o.getTensorIOMode(""))
#ifdef RUNTIME_CONFIG
    MAYBE("runtime_config_set_specialization", IRuntimeConfig, o.setDynamicShapesKernelSpecializationStrategy({}))
#else
    std::printf("    runtime_config_set_specialization: None,\n");
#endif
#ifdef RUNTIME_CACHE
    MAYBE("runtime_config_create_cache", IRuntimeConfig, o.createRuntimeCache())
    MAYBE("runtime_config_set_cache", IRuntimeConfig, o.setRuntimeCache(any<IRuntimeCache>()))
    MAYBE("runtime_cache_serialize", IRuntimeCache, o.serialize())
    MAYBE("runtime_cache_deserialize", IRuntimeCache, o.deserialize("", std::size_t{1}))
#else
    std::printf("    runtime_config_create_cache: None,\n    runtime_config_set_cache: None,\n");
    std::printf("    runtime_cache_serialize: None,\n    runtime_cache_deserialize: None,\n");
#endif
    METHOD("context_set_input_shape", IExecutionContext, o.setInputShape("", Dims{}))
    METHOD("context_tensor_shape", IExecutionContext, o.getTensorShape(""))
    METHOD("context_set_address", IExecutionContext, o.setTensorAddress("", nullptr))
    METHOD("context_enqueue", IExecutionContext, o.enqueueV3(nullptr))
    OWN("parser_parse", nvonnxparser::IParser, o.parse("", 1, nullptr))
    OWN("parser_error_count", nvonnxparser::IParser, o.getNbErrors())
    OWN("parser_error", nvonnxparser::IParser, o.getError(0))
    DELETE("parser_delete", nvonnxparser::IParser)
    OWN("error_text", nvonnxparser::IParserError, o.desc())
    OWN("error_node", nvonnxparser::IParserError, o.node())
    OWN_MAYBE("error_node_name", nvonnxparser::IParserError, o.nodeName())
    CONSTANT("flag_fp16", "Some(%d)", BuilderFlag, kFP16)
    CONSTANT("flag_tf32", "%d", BuilderFlag, kTF32)
    CONSTANT("network_explicit_batch", "Some(%d)", NetworkDefinitionCreationFlag, kEXPLICIT_BATCH)
    CONSTANT("network_strongly_typed", "Some(%d)", NetworkDefinitionCreationFlag, kSTRONGLY_TYPED)
    CONSTANT("tactics_edge_mask", "%d", TacticSource, kEDGE_MASK_CONVOLUTIONS)
    CONSTANT("tactics_jit", "%d", TacticSource, kJIT_CONVOLUTIONS)
    std::printf("// the same in all releases: DELETE of what is not the parser\n");
    DELETE("// builder", IBuilder)
    DELETE("// config", IBuilderConfig)
    DELETE("// network", INetworkDefinition)
    DELETE("// memory", IHostMemory)
    DELETE("// runtime", IRuntime)
    DELETE("// engine", ICudaEngine)
    DELETE("// context", IExecutionContext)
#ifdef RUNTIME_CONFIG
    DELETE("// runtime config", IRuntimeConfig)
#endif
#ifdef RUNTIME_CACHE
    DELETE("// runtime cache", IRuntimeCache)
#endif
    std::printf("// what the library calls on our objects: logger.rs and progress.rs\n");
    OWN("// logger log", ILogger, o.log(ILogger::Severity{}, ""))
    DELETE("// logger delete", ILogger)
    OWN_MAYBE("// logger interface info", ILogger, o.getInterfaceInfo().kind)
    OWN_MAYBE("// logger language", ILogger, o.getAPILanguage())
#ifdef PROGRESS_MONITOR
    OWN("// monitor language", IProgressMonitor, o.getAPILanguage())
    OWN("// monitor interface info", IProgressMonitor, o.getInterfaceInfo().kind)
    DELETE("// monitor delete", IProgressMonitor)
    OWN("// monitor phase start", IProgressMonitor, o.phaseStart("", "", 1))
    OWN("// monitor step complete", IProgressMonitor, o.stepComplete("", 1))
    OWN("// monitor phase finish", IProgressMonitor, o.phaseFinish(""))
#endif
    std::printf("// constants that are the same in all releases\n");
    CONSTANT("// DataType::kFLOAT", "%d", DataType, kFLOAT)
    CONSTANT("// DataType::kHALF", "%d", DataType, kHALF)
    CONSTANT("// TensorIOMode::kINPUT", "%d", TensorIOMode, kINPUT)
    CONSTANT("// TensorIOMode::kOUTPUT", "%d", TensorIOMode, kOUTPUT)
    CONSTANT("// OptProfileSelector::kMIN", "%d", OptProfileSelector, kMIN)
    CONSTANT("// OptProfileSelector::kOPT", "%d", OptProfileSelector, kOPT)
    CONSTANT("// OptProfileSelector::kMAX", "%d", OptProfileSelector, kMAX)
    CONSTANT("// Severity::kINTERNAL_ERROR", "%d", ILogger::Severity, kINTERNAL_ERROR)
    CONSTANT("// Severity::kVERBOSE", "%d", ILogger::Severity, kVERBOSE)
}
CPP
for headers in "$@"; do
    defined=()
    grep -qs 'class IRuntimeConfig :' "$headers"/*.h && defined+=(-DRUNTIME_CONFIG)
    grep -qs 'class IRuntimeCache :' "$headers"/*.h && defined+=(-DRUNTIME_CACHE)
    grep -qs 'class IProgressMonitor :' "$headers"/*.h && defined+=(-DPROGRESS_MONITOR)
    g++ -std=c++20 -O0 -w "${defined[@]}" -I "$headers" -I "$work" "$work/probe.cpp" -o "$work/probe"
    "$work/probe"
done
