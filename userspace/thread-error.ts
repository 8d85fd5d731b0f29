/** Errors on their way from one thread to another, with all that a person is told of them. */

/** An error as plain data. */
export interface PackedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Texts and numbers that it has besides, such as `code` and `hint`. */
  readonly properties: Readonly<Record<string, string | number>>;
  readonly cause: PackedError | undefined;
}

/** A chain of causes is seldom longer than five. */
const MAX_CAUSES = 20;

/** By these, faults in the program are told from what a user can cause. */
const OWN_CLASS = new Map<string, ErrorConstructor>([
  ["TypeError", TypeError],
  ["RangeError", RangeError],
  ["ReferenceError", ReferenceError],
]);

/** Packs whatever was thrown, and what caused it. */
export function packError(thrown: unknown, depth = 0): PackedError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const properties: Record<string, string | number> = {};
  for (const [key, value] of Object.entries(error))
    if (typeof value === "string" || typeof value === "number") properties[key] = value;
  const { cause } = error;
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    properties,
    cause: cause === undefined || depth === MAX_CAUSES ? undefined : packError(cause, depth + 1),
  };
}

/** The error again: the same texts and properties, but of the classes only those of the language. */
export function unpackError({ name, message, stack, properties, cause }: PackedError): Error {
  const options = cause === undefined ? undefined : { cause: unpackError(cause) };
  const error = new (OWN_CLASS.get(name) ?? Error)(message, options);
  if (error.name !== name) error.name = name;
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, properties);
}
