!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
define { i64, i64, i64 } @"escaping"(i64 %a) nounwind {
entry:
  %.4 = icmp ne i64 %a, 3
  br i1 %.4, label %then.1, label %else.2
then.1:
  %.9 = icmp ugt i64 %a, 255
  br i1 %.9, label %then.6, label %else.7
then.6:
  %.10 = add i64 1, 1
  %.11 = insertvalue { i64, i64, i64 } poison, i64 %.10, 1
  %.12 = insertvalue { i64, i64, i64 } %.11, i64 %a, 2
  ret { i64, i64, i64 } %.12
else.7:
  %.13 = trunc i64 %a to i8
  %.14 = sext i8 %.13 to i64
  br label %end.3
else.2:
  br label %end.3
end.3:
  %.15 = phi i64 [ %.14, %else.7 ], [ 4, %else.2 ]
  %.16 = insertvalue { i64, i64, i64 } poison, i64 %.15, 0
  %.17 = insertvalue { i64, i64, i64 } %.16, i64 0, 1
  %.18 = insertvalue { i64, i64, i64 } %.17, i64 0, 2
  ret { i64, i64, i64 } %.18
}
