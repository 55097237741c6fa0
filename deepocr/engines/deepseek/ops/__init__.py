"""Operations with a plain version and fast ones beside it."""
