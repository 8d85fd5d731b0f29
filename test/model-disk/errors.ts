/** The errors that the model's calls have. */
import { type Fd, LinuxError } from "../../src/linux/linux.ts";

const ERRORS = {
  EPERM: [1, "Operation not permitted"],
  ENOENT: [2, "No such file or directory"],
  EBADF: [9, "Bad file descriptor"],
  EACCES: [13, "Permission denied"],
  EEXIST: [17, "File exists"],
  EXDEV: [18, "Invalid cross-device link"],
  ENOTDIR: [20, "Not a directory"],
  EISDIR: [21, "Is a directory"],
  EINVAL: [22, "Invalid argument"],
  ENOTTY: [25, "Inappropriate ioctl for device"],
  ETXTBSY: [26, "Text file busy"],
  ENOSYS: [38, "Function not implemented"],
  ENOTEMPTY: [39, "Directory not empty"],
  ELOOP: [40, "Too many levels of symbolic links"],
  ENODATA: [61, "No data available"],
  EOPNOTSUPP: [95, "Operation not supported"],
} as const;

export type ErrorCode = keyof typeof ERRORS;

export function fail(code: ErrorCode, syscall: string, about: string | Fd): never {
  const [errno, description] = ERRORS[code];
  const path = typeof about === "number" ? `fd ${about}` : about;
  throw new LinuxError(errno, code, description, syscall, path);
}
