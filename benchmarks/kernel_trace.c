// Writes one line for each kernel, copy and memset that a CUDA process runs, for kernels.py to read. The CUDA driver loads it by
// itself into every process that runs with CUDA_INJECTION64_PATH=.../libkernel_trace.so; the lines go to $KERNEL_TRACE.PID.
//
// Build, with the headers and the library of CUPTI (part of CUDA; or of the PyPI packages nvidia-cuda-cupti, nvidia-cuda-runtime
// and nvidia-cuda-crt), which must be found at run time too:
//   gcc -O2 -shared -fPIC -o libkernel_trace.so kernel_trace.c -I CUDA/include -L CUDA/lib -l:libcupti.so.13
//
// A line: start and end in ns, id of the captured graph (0: none) and of the node in it, grid, block, name.
#include <cuda.h>
#include <cupti.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *out;

static void CUPTIAPI give(uint8_t **buffer, size_t *size, size_t *records) {
    *size = 8 << 20;
    *buffer = aligned_alloc(8, *size);
    *records = 0;
}

static void line(uint64_t start, uint64_t end, uint32_t graph, uint64_t node) {
    fprintf(out, "%llu\t%llu\t%u\t%llu\t", (unsigned long long)start, (unsigned long long)end, graph, (unsigned long long)node);
}

static void CUPTIAPI take(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid) {
    CUpti_Activity *record = NULL;
    while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
        if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
            CUpti_ActivityKernel10 *kernel = (CUpti_ActivityKernel10 *)record;
            line(kernel->start, kernel->end, kernel->graphId, kernel->graphNodeId);
            fprintf(out, "%d,%d,%d\t%d,%d,%d\t%s\n", kernel->gridX, kernel->gridY, kernel->gridZ, kernel->blockX, kernel->blockY,
                    kernel->blockZ, kernel->name);
        } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
            CUpti_ActivityMemcpy6 *copy = (CUpti_ActivityMemcpy6 *)record;
            line(copy->start, copy->end, copy->graphId, copy->graphNodeId);
            fprintf(out, "-\t-\tmemcpy kind %d of %llu bytes\n", copy->copyKind, (unsigned long long)copy->bytes);
        } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
            CUpti_ActivityMemset4 *set = (CUpti_ActivityMemset4 *)record;
            line(set->start, set->end, set->graphId, set->graphNodeId);
            fprintf(out, "-\t-\tmemset of %llu bytes\n", (unsigned long long)set->bytes);
        }
    }
    free(buffer);
}

static void finish(void) {
    cuptiActivityFlushAll(1);
    fclose(out);
}

int InitializeInjection(void) {
    const char *base = getenv("KERNEL_TRACE");
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", base ? base : "kernels", (int)getpid());
    out = fopen(path, "w");
    if (!out) return 0;
    cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
    cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
    cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET);
    cuptiActivityRegisterCallbacks(give, take);
    atexit(finish);
    return 1;
}
