!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
define i64 @"caught"(i64 %a) nounwind {
entry:
  %.7 = icmp ugt i64 %a, 255
  br i1 %.7, label %then.4, label %else.5
then.4:
  %.8 = add i64 1, 1
  br label %except.1
else.5:
  %.9 = trunc i64 %a to i8
  %.10 = sext i8 %.9 to i64
  %.11 = ashr i64 %.10, 1
  ret i64 %.11
except.1:
  %.12 = sub i64 %.8, 1
  %.13 = sub i64 0, %a
  ret i64 %.13
}
