#pragma once
/* Makes the n-th system call of a kind fail, in the program that this library is preloaded into
 * (LD_PRELOAD, told by TM_IO_FAULT="op:nth:errno:mode") or linked with (told by tm_io_fault_arm).
 *
 * op:   open, write, read, sync, rename, link, unlink, mkdir, stat, lock, readdir, or any
 * mode: error    fails with errno, and nothing has happened
 *       onward   as error, and every later call of the kind too
 *       late     happens, and fails with errno all the same
 *       short    write, read: does half of it, with success
 *       swallow  from the n-th call on does nothing, with success (sync)
 * Calls on descriptors 0 to 2 are passed on and not counted. */
#ifndef TM_IO_FAULT_SHIM_H
#define TM_IO_FAULT_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

void tm_io_fault_arm(const char* op, unsigned long nth, int errnum, const char* mode);
void tm_io_fault_disarm(void);
/* Since it was armed: calls of the kind, and faults that came to pass. */
unsigned long tm_io_fault_calls(void);
unsigned long tm_io_fault_fired(void);
/* The name of the last call that a fault befell; "" where none was. */
const char* tm_io_fault_last(void);

#ifdef __cplusplus
}
#endif
#endif
