/** An error that says what to do about it: printed as `hint: …` below the error, wherever in the cause chain it is. */
export class HintedError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string, options?: { cause?: unknown }) {
    super(message, options);
    this.hint = hint;
  }
}
